"""Helpers of the tests: fixtures, fakes and contract tests that several test files share."""
