"""`python -m nrc_tracer`: the same program as `nrc-tracer`."""

from nrc_tracer.cli import main

if __name__ == "__main__":
    main(prog_name="nrc-tracer")
