"""report.html in a browser: it needs nothing from outside, its table sorts, its arms can be hidden."""

import pytest

from fabricated import make_config, write_run
from tietrain.report.write import write_report

LOSSES = {"none": 3.0, "pre_softmax": 2.9, "three_way": 2.5}


@pytest.fixture
def page(tmp_path):
    for label, loss in LOSSES.items():
        for seed in (1, 2):
            write_run(tmp_path, make_config("mt", label, seed), loss=loss + seed / 100)
    write_report(tmp_path)
    return (tmp_path / "report" / "report.html").as_uri()


def test_report_page_sorts_and_hides_arms(page, quiet):
    with quiet(page) as browser:
        browser.get(page)
        check_the_table_sorts(browser)
        check_an_arm_can_be_hidden(browser)
        check_a_narrow_page_says_that_its_table_is_wider(browser)


def test_report_page_of_many_arms_finds_one_and_shows_all(tmp_path, quiet, no_figures):
    for i in range(24):
        config = make_config("lm", "pre_softmax" if i else "none", 1)
        config.optim.lr = 1e-3 * (i + 1)
        write_run(tmp_path, config, loss=2 + 0.1 * i)
    write_report(tmp_path)
    page = (tmp_path / "report" / "report.html").as_uri()
    with quiet(page) as browser:
        browser.get(page)

        def shown():
            return {
                row.text for row in browser.find_elements("css selector", "table.arms tbody th") if row.is_displayed()
            }

        before = shown()
        find = browser.find_element("css selector", ".many input")
        find.send_keys("lr=0.012")
        assert shown() - before == {"pre_softmax (lr=0.012)"}
        find.clear()
        find.send_keys(" ")
        browser.find_element("css selector", ".many button").click()
        assert len(shown()) == 24


def check_the_table_sorts(browser):
    def arms():
        return [row.text for row in browser.find_elements("css selector", "table.arms tbody th")]

    before = arms()
    assert sorted(before) == sorted(LOSSES)
    button = browser.find_element("css selector", "table.arms thead button")
    orders = []
    for _ in range(2):
        button.click()
        orders.append(arms())
    assert orders == [sorted(LOSSES), sorted(LOSSES, reverse=True)]
    (params,) = (b for b in browser.find_elements("css selector", "table.arms thead button") if "param" in b.text)
    params.click()
    column = browser.execute_script("return arguments[0].closest('th').cellIndex", params)
    cells = browser.find_elements("css selector", f"table.arms tbody tr > :nth-child({column + 1})")
    shown = [float(cell.get_attribute("data-by")) for cell in cells]
    assert shown == sorted(shown)
    assert len(set(shown)) > 1


def check_an_arm_can_be_hidden(browser):
    box = browser.find_element("css selector", "input[data-arm]")
    parts = browser.find_elements("class name", box.get_attribute("data-arm"))
    assert {part.tag_name for part in parts} == {"tr", "g"}
    before = [part.is_displayed() for part in parts]
    assert {part.tag_name for part, shown in zip(parts, before, strict=True) if shown} == {"tr", "g"}
    box.click()
    assert not [part for part in parts if part.is_displayed()]
    box.click()
    assert [part.is_displayed() for part in parts] == before


def check_a_narrow_page_says_that_its_table_is_wider(browser):
    size = browser.get_window_size()
    hints = []
    for width in (1400, 500):
        browser.set_window_size(width, 900)
        box = browser.find_element("css selector", ".scroll:has(.arms)")
        hints.append(browser.execute_script("return getComputedStyle(arguments[0], '::before').content", box))
        name, page = box.find_element("css selector", ".name"), browser.execute_script("return innerWidth")
        browser.execute_script("arguments[0].scrollLeft = 10000", box)
        assert 0 <= name.rect["x"] < page / 2  # the arm's name stays in sight
    browser.set_window_size(size["width"], size["height"])
    assert hints[0] == "none" and "scroll sideways" in hints[1]
