"""Where profiles are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpuops.errors import GpuopsError, UsageError
from gpuops.system import profiles
from gpuops.system.resources import shipped


@pytest.fixture(name="places")
def _places(tmp_path, monkeypatch):
    """A working folder and a user's folder, both without profiles yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    here, users = tmp_path / "profiles", tmp_path / "config" / "gpuops" / "profiles"
    here.mkdir()
    users.mkdir(parents=True)
    return here, users


def write(folder, name, workers):
    """A small profile."""
    path = folder / f"{name}.yaml"
    path.write_text(f"name: {name}\ndevice: cpu\nworkers: {workers}\n")
    return path


def test_here_comes_before_the_users_before_the_shipped(places):
    """The first folder that has the name wins."""
    here, users = places
    assert 2 == profiles.load("cpu").workers
    write(users, "cpu", 3)
    assert 3 == profiles.load("cpu").workers
    write(here, "cpu", 4)
    assert 4 == profiles.load("cpu").workers


def test_all_places_are_listed_by_name(places):
    """Own profiles stand among the shipped ones; a name is listed once."""
    here, users = places
    write(here, "cpu", 4)
    write(users, "mine", 1)
    (here / "notes.txt").touch()

    found = profiles.available()

    assert sorted(found) == list(found)
    assert {"cpu", "mine", "8xh100"} <= set(found)
    assert "notes" not in found
    assert Path("profiles/cpu.yaml") == found["cpu"]


@pytest.mark.usefixtures("places")
def test_the_users_folder_is_below_home_by_default(tmp_path, monkeypatch):
    """Without XDG_CONFIG_HOME it is ~/.config."""
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / ".config" / "gpuops" / "profiles"
    folder.mkdir(parents=True)
    write(folder, "athome", 1)

    assert 1 == profiles.load("athome").workers


@pytest.mark.usefixtures("places")
def test_a_home_that_nobody_knows_hides_no_shipped_profile(monkeypatch):
    """In a container a user may have neither HOME nor an entry in passwd."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "~nobody-of-that-name/.config")

    assert 2 == profiles.load("cpu").workers


def test_a_path_is_a_file(places, tmp_path):
    """A path, or a name that ends in .yaml, is taken as it is."""
    path = write(places[1], "far", 5)
    (tmp_path / "plain").write_text(path.read_text())

    assert 5 == profiles.load("./plain").workers

    assert 5 == profiles.load(str(path)).workers
    path.rename(tmp_path / "near.yml")
    assert 5 == profiles.load("near.yml").workers


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("path", ["./no.yaml", "no.yaml", "no/where", f"./{'a' * 300}.yaml"])
def test_a_path_that_is_not_there_is_refused(path):
    """It is not looked up as a name."""
    with pytest.raises(UsageError, match="there is no profile file"):
        profiles.load(path)


@pytest.mark.usefixtures("places")
def test_an_unknown_name_is_answered_with_the_nearest():
    """And with all that there are."""
    with pytest.raises(UsageError) as caught:
        profiles.load("8xh10")

    assert "there is no profile '8xh10'; did you mean 8xh100?" == caught.value.message
    assert all(name in caught.value.hint for name in profiles.available())


@pytest.mark.usefixtures("places")
def test_a_name_like_no_other_offers_none():
    """A guess is only offered where it is near."""
    with pytest.raises(UsageError) as caught:
        profiles.load("zzzzzzz")

    assert "did you mean" not in caught.value.message


def test_a_broken_profile_is_named_by_its_file(places):
    """The sentence says which file to mend."""
    (places[0] / "bad.yaml").write_text("name: bad\nworkers: many\n")

    with pytest.raises(UsageError, match=r"profiles/bad\.yaml is not a valid profile: workers is"):
        profiles.load("bad")


def test_an_empty_profile_is_no_profile(places):
    """An empty file is a document without a mapping."""
    (places[0] / "empty.yaml").touch()

    with pytest.raises(UsageError, match="must be a mapping"):
        profiles.load("empty")


@pytest.mark.usefixtures("places")
def test_the_shipped_profiles_are_found_from_anywhere():
    """They lie beside the package, or within it where it is installed."""
    assert shipped("profiles").is_absolute()
    assert (shipped("profiles") / "cpu.yaml").is_file()


def test_a_hidden_profile_is_told(places):
    """All files of a name, the one that counts first."""
    here, users = places
    write(users, "cpu", 3)
    write(here, "cpu", 4)

    paths = profiles.everywhere()["cpu"]

    assert [
        Path("profiles/cpu.yaml"),
        users / "cpu.yaml",
        shipped("profiles") / "cpu.yaml",
    ] == paths
    assert 1 == len(profiles.everywhere()["8xh100"])


def test_a_checkout_hides_nothing_of_its_own(monkeypatch):
    """Who stands in it has ./profiles and the shipped ones in one folder."""
    monkeypatch.chdir(shipped("profiles").parent)

    assert [Path("profiles/cpu.yaml")] == profiles.everywhere()["cpu"]


GOOD = "name: mine\ndevice: cpu\nworkers: 2\n"


def test_a_profile_is_written_and_found(places):
    """Into a folder that need not be there."""
    path = places[0] / "deep" / "mine.yaml"
    profiles.write(path, GOOD)

    assert GOOD == path.read_text()
    assert 2 == profiles.load(str(path)).workers


def test_what_is_there_is_not_overwritten(places):
    """Unless somebody says so; a link that leads nowhere is something too."""
    path = write(places[0], "mine", 5)
    (places[0] / "link.yaml").symlink_to("nowhere")

    for taken in (path, places[0] / "link.yaml"):
        with pytest.raises(UsageError, match="already exists") as caught:
            profiles.write(taken, GOOD)
        assert "--overwrite" in caught.value.hint
    assert 5 == profiles.load("mine").workers

    profiles.write(path, GOOD, overwrite=True)
    assert 2 == profiles.load("mine").workers
    assert ["link.yaml", "mine.yaml"] == sorted(entry.name for entry in places[0].iterdir())


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("mine.yaml", "name: mine\n", "gpus is missing"),
        ("mine.txt", GOOD, "its name must end in .yaml"),
        ("file/mine.yaml", GOOD, "cannot be made"),
    ],
)
def test_what_could_not_be_used_is_not_written(places, name, text, words):
    """A broken text, a name that no launch would find, a folder that cannot be."""
    (places[0] / "file").touch()
    with pytest.raises(GpuopsError, match=words):
        profiles.write(places[0] / name, text)

    assert ["file"] == [entry.name for entry in places[0].iterdir()]
