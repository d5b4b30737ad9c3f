"""The rows of one source: every pass in an order of its own, nothing twice, nothing lost."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate, pairwise

import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from lightning_mtl.samplers import Ready, Rows
from lightning_mtl.samplers._permutation import Permutation
from tests.cases import over

SMALL = [1, 2, 3, 7, 100, 1001, 65_536]
LARGE = [65_537, 99_991, 131_072, 131_073]


def passes(stream: Rows, number: int, first: int = 0) -> list[list[list[int]]]:
    """Read whole passes, batch by batch."""
    place = first * stream.rows
    made: list[list[list[int]]] = []
    for _ in range(number):
        made.append([])
        for _ in range(stream.batches):
            made[-1].append(stream.take(place, stream.batch(place)))
            place += stream.batch(place)
    return made


def flat(batches: Iterable[Iterable[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


# Permutations


@over("rows", [*SMALL, *LARGE])
def test_a_permutation_holds_every_number_once(rows: int) -> None:
    whole = Permutation(rows, seed=3).part(0, rows)
    assert torch.equal(whole.sort().values, torch.arange(rows))


@over("rows", [7, 1001, *LARGE])
def test_parts_of_a_permutation_are_those_of_the_whole(rows: int) -> None:
    order = Permutation(rows, seed=5)
    whole = order.part(0, rows)
    cuts = sorted({0, rows, *torch.randint(0, rows, (9,), generator=torch.Generator().manual_seed(rows)).tolist()})
    for start, stop in reversed([*pairwise(cuts)]):
        assert torch.equal(order.part(start, stop), whole[start:stop])
    assert torch.equal(Permutation(rows, seed=5).part(cuts[1], rows), whole[cuts[1] :])


@over("rows", [1001, 65_536, *LARGE])
def test_permutations_of_two_seeds_have_nothing_to_do_with_each_other(rows: int) -> None:
    """Two random permutations agree in one place on average."""
    one, other = (Permutation(rows, seed=seed).part(0, rows) for seed in (0, 1))
    assert (one == other).sum() < 8
    assert abs(torch.corrcoef(torch.stack([one, other]).double())[0, 1]) < 4 / rows**0.5


@over("rows", [10_000, *LARGE])
@over("distance", [1, 2, 256])
def test_neighbours_of_a_permutation_are_uncorrelated(rows: int, distance: int) -> None:
    whole = Permutation(rows, seed=7).part(0, rows).double()
    assert abs(torch.corrcoef(torch.stack([whole[:-distance], whole[distance:]]))[0, 1]) < 4 / rows**0.5


@over("rows", [65_536, *LARGE])
def test_numbers_come_anywhere_in_a_permutation(rows: int) -> None:
    """In sixteen parts of the places, numbers of each of sixteen sizes are as frequent; so are odd and even ones."""
    whole = Permutation(rows, seed=11).part(0, rows)
    place = torch.arange(rows) * 16 // rows
    for kind, kinds in ((whole * 16 // rows, 16), (whole % 2, 2)):
        table = torch.bincount(place * kinds + kind, minlength=16 * kinds).reshape(16, kinds)
        assert 1e-3 < chi2_contingency(table.numpy()).pvalue < 1 - 1e-3


def test_a_number_comes_anywhere_over_seeds() -> None:
    places = torch.cat([Permutation(65_537, seed=seed).part(0, 1) for seed in range(400)])
    assert chisquare(torch.bincount(places * 10 // 65_537, minlength=10).numpy()).pvalue > 1e-3


# Passes


@over("rows", [1, 5, 7, 100, 1001])
@over("batch", [1, 4, 32, 2000])
@pytest.mark.parametrize("by_length", [False, True])
def test_a_pass_reads_every_row_once(rows: int, batch: int, by_length: bool) -> None:
    stream = Rows(rows, batch, lengths=skewed(rows) if by_length else None)
    for of in passes(stream, 3):
        sizes = [len(batch) for batch in of]
        assert sorted(flat(of)) == list(range(rows))
        assert max(sizes) <= batch
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) == -(-rows // batch)


def test_a_pass_is_a_permutation_cut_into_pieces() -> None:
    """Ten lines that know nothing of the class."""
    stream = Rows(23, 4, name="a")
    stream.reseed(3)
    for number, of in enumerate(passes(stream, 3)):
        digest = hashlib.blake2b(f"3/a/{number}".encode(), digest_size=8).digest()
        seed = int.from_bytes(digest, "little") >> 1
        order = torch.randperm(23, generator=torch.Generator().manual_seed(seed))
        assert of == [piece.tolist() for piece in order.tensor_split(6)]


@over("rows", [9, 300, 70_000])
@pytest.mark.parametrize(
    "options", [{}, {"shuffle": False}, {"lengths": True}, {"sort": True, "shuffle": False}], ids=str
)
def test_any_part_can_be_read_first(rows: int, options: dict[str, bool]) -> None:
    """What is read of a stream depends on the place alone, not on what was read before."""
    lengths = skewed(rows) if options.keys() & {"lengths", "sort"} else None
    made = {**options, "lengths": lengths}
    in_order, jumping = Rows(rows, 7, name="a", **made), Rows(rows, 7, name="a", **made)  # type: ignore[arg-type]
    places = list(accumulate([0, *[29] * 12])) if rows > 100 else list(range(0, 5 * rows, 2))
    places = [place + rows - 100 for place in places] if rows > 100 else places
    read = {place: in_order.take(place, 25) for place in places}
    for place in reversed(places):
        assert jumping.take(place, 25) == read[place]
    for ranks in (2, 3):
        assert all(jumping.take(place, 25, 1, ranks) == read[place][1::ranks] for place in places)


def test_passes_sources_and_seeds_have_orders_of_their_own() -> None:
    orders = [flat(of) for of in passes(Rows(20, 4, name="a"), 3)]
    orders.append(flat(passes(Rows(20, 4, name="b"), 1)[0]))
    other = Rows(20, 4, name="a")
    other.reseed(1)
    orders.append(flat(passes(other, 1)[0]))
    assert len({tuple(order) for order in orders}) == 5
    assert flat(passes(Rows(20, 5, name="a"), 1)[0]) == orders[0]  # the size of batches only cuts it


def test_unshuffled_rows_come_in_their_order_over_passes() -> None:
    assert [flat(of) for of in passes(Rows(7, 3, shuffle=False), 3)] == [[*range(7)]] * 3


@over("rows", [4, 5, 7, 9])
def test_no_rank_is_ever_without_rows(rows: int) -> None:
    stream = Rows(rows, 4, ranks=4)
    place = 0
    for _ in range(3 * stream.batches):
        parts = [stream.take(place, stream.batch(place), rank, 4) for rank in range(4)]
        assert all(parts)
        place += stream.batch(place)


# Lengths


def skewed(rows: int = 20_000, seed: int = 0) -> list[int]:
    """Lengths as texts have them: many short ones, a long tail, cut at 128 tokens."""
    normal = torch.randn(rows, generator=torch.Generator().manual_seed(seed))
    return (3 + 0.7 * normal).exp().long().clamp(3, 128).tolist()


def padding(batches: Iterable[list[int]], lengths: list[int]) -> float:
    """Share of the positions of all batches that hold nothing."""
    of = [[lengths[row] for row in batch] for batch in batches]
    return 1 - sum(map(sum, of)) / sum(max(batch) * len(batch) for batch in of)


def test_lengths_spare_the_padding() -> None:
    lengths = skewed()
    for of in passes(Rows(20_000, 32, lengths=lengths), 2):
        assert padding(of, lengths) < 0.1
    assert padding(passes(Rows(20_000, 32), 1)[0], lengths) > 0.3


def test_batches_by_length_come_in_random_order() -> None:
    """Lengths of neighbouring batches have nothing to do with each other, and every part of a pass is like the whole."""
    lengths = torch.tensor(skewed())
    (of,) = passes(Rows(20_000, 32, lengths=lengths), 1)
    means = torch.stack([lengths[batch].double().mean() for batch in of])
    neighbours = torch.corrcoef(torch.stack([means[:-1], means[1:]]))[0, 1]
    assert abs(neighbours) < 4 / len(means) ** 0.5
    parts = torch.stack([part.mean() for part in means.tensor_split(5)])
    assert ((parts - means.mean()).abs() < 4 * means.std() / (len(means) / 5) ** 0.5).all()


def test_pools_of_fifty_batches_come_one_after_another() -> None:
    """Sorted within a pool, and the pool alone: its rows are those that would come without lengths."""
    lengths = skewed(3000)
    stream, plain = Rows(3000, 8, lengths=lengths), Rows(3000, 8)
    for of, rows in zip(passes(stream, 2), passes(plain, 2), strict=True):
        for start in range(0, stream.batches, 50):
            pool = of[start : start + 50]
            assert sorted(flat(pool)) == sorted(flat(rows[start : start + 50]))
            ranges = sorted((min(lengths[row] for row in batch), max(lengths[row] for row in batch)) for batch in pool)
            assert all(longest <= shortest for (_, longest), (shortest, _) in pairwise(ranges))


def test_batches_by_length_are_new_in_every_pass_and_come_again() -> None:
    def batches(number: int, seed: int = 0) -> list[frozenset[int]]:
        stream = Rows(3000, 8, lengths=skewed(3000))
        stream.reseed(seed)
        return [frozenset(batch) for batch in passes(stream, 1, number)[0]]

    assert batches(0) == batches(0)
    assert len(set(batches(0)) & set(batches(1))) < 4
    assert len(set(batches(0)) & set(batches(0, seed=1))) < 4


def test_rows_of_one_length_come_in_random_order() -> None:
    (alike,), (plain,) = passes(Rows(1000, 10, lengths=[7] * 1000), 1), passes(Rows(1000, 10), 1)
    assert sorted(alike) == sorted(plain)


def test_rows_keep_their_order_unless_they_may_be_sorted() -> None:
    lengths = [4, 9, 4, 1, 9, 2, 4]
    assert passes(Rows(7, 2, shuffle=False, lengths=lengths), 1) == [[[0, 1], [2, 3], [4, 5], [6]]]
    assert passes(Rows(7, 2, shuffle=False, lengths=lengths, sort=True), 1) == [[[1, 4], [0, 2], [6, 5], [3]]]
    assert passes(Rows(7, 2, shuffle=False, sort=True), 1) == [[[0, 1], [2, 3], [4, 5], [6]]]


@pytest.mark.parametrize("lengths", [[1, 2], torch.ones(3, 2)], ids=["few", "table"])
def test_lengths_that_do_not_fit(lengths: list[int] | torch.Tensor) -> None:
    shape = rf"\[{', '.join(map(str, torch.as_tensor(lengths).shape))}\]"
    says = rf"`lengths` of source 'a' must hold a number for each of its 3 rows, got shape {shape}. Measure every row"
    with pytest.raises(ValueError, match=says):
        Rows(3, 2, name="a", lengths=lengths)


# Ready batches


def test_ready_batches_go_on_from_any_place() -> None:
    batches = [[0, 1], [2], [3, 4, 5]]
    in_order, jumping = Ready(batches, 6), Ready(batches, 6)
    assert [in_order.take(place, 1) for place in range(7)] == [*batches, *batches, [0, 1]]
    assert [jumping.take(place, 1) for place in (5, 1, 2, 3, 0)] == [[3, 4, 5], [2], [3, 4, 5], [0, 1], [0, 1]]
    assert Counter(jumping.batch(place) for place in range(5)) == {1: 5}
