"""Exit statuses of `vitad-med`."""

OK = 0
FINDINGS = 1
USER_ERROR = 2
INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended

EPILOG = """\
exit status:
  0    done
  1    a check found something wrong
  2    a mistake in the options or in the input, named in one sentence
  130  interrupted by Ctrl-C
"""
