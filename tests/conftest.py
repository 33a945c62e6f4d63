"""The order of the tests: fast ones first, then the twins, the built site, and the browser."""

SLOW = [
    "test_twins",
    "test_notebooks",
    "test_downloads",
    "test_site",
    "test_browser",
    "test_search",
    "test_hosting",
    "test_versions",
]


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: SLOW.index(item.path.stem) + 1 if item.path.stem in SLOW else 0)
