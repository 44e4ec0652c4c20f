from sslkit.engine.log import collecting, logger


def test_the_file_has_what_was_said_before_it_and_at_once_what_is_said_after(tmp_path):
    path, level = tmp_path / "log.txt", logger.level
    with collecting() as log:
        logger.info("before")
        log.write_to(path)
        assert path.read_text().endswith(" INFO before\n")
        logger.warning("after")  # a process that is killed now has said so
        assert path.read_text().endswith(" WARNING after\n")
    logger.warning("too late")
    assert "too late" not in path.read_text()
    assert logger.level == level


def test_without_a_file_nothing_stays_behind():
    handlers = list(logger.handlers)
    with collecting():
        logger.info("said to nobody")
    assert logger.handlers == handlers
