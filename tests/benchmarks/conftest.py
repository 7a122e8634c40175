import pytest

from benchmarks.accuracy.data import data_folder


@pytest.fixture(scope="session")
def data():
    try:
        return data_folder()
    except FileNotFoundError as error:
        pytest.skip(str(error))
