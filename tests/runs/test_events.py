"""Event files of TensorBoard beside what somebody else put there."""

from tietrain.runs.events import OURS, EventFile, clear_events


def test_a_folder_with_the_name_of_an_event_file_stays_and_stops_no_event_file(tmp_path):
    folder = tmp_path / "events.out.tfevents.1.tietrain"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    EventFile(tmp_path, 0.0).scalar("loss", 1.0, 1)
    EventFile(tmp_path, 0.0).scalar("loss", 0.5, 2)
    assert len(list(tmp_path.glob(OURS))) == 2
    clear_events(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert (folder / "notes.txt").read_text() == "mine"
