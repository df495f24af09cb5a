"""Which posters are validated on."""

from trainers.layout.layouts.split import is_validation

NAMES = [f"Poster_{number}" for number in range(1000)]
WRITTEN_DOWN = ["Poster_7", "Poster_15", "Poster_19"]


def test_the_share_is_about_as_asked():
    """800 to train on and 200 to validate on."""
    assert 170 < sum(is_validation(name, 0.2) for name in NAMES) < 230


def test_a_poster_stays_where_it_is():
    """For ever, and a larger share keeps those of a smaller one."""
    assert [name for name in NAMES[:20] if is_validation(name, 0.2)] == WRITTEN_DOWN
    chosen = {share: {n for n in NAMES if is_validation(n, share)} for share in (0.1, 0.3)}
    assert chosen[0.1] < chosen[0.3]


def test_any_name_will_do():
    """Also one that is not text."""
    assert is_validation("\udcff", 0.999999)
