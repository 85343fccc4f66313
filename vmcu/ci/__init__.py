"""What a user's continuous integration runs: compile, verify, profile, compare with a committed baseline.

vmcu-ci.toml -> Config -> Result per model -> table, JUnit, exit code
                read      check
"""
