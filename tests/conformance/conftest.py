"""The suites live outside of test files; their assertions explain themselves all the same."""

import pytest

pytest.register_assert_rewrite("conformance.queue_suite")
pytest.register_assert_rewrite("conformance.broker_suite")
