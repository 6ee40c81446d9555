"""For tests, of programs and of plugins: contract suites, scripted model, scripted harness."""
