"""The command line: what may be written, and what each command is for."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Collection, Sequence

from bench import usage_data, usage_results, usage_speed, usage_studies
from bench.errors import EXIT_INTERRUPTED, EXIT_OK, ResbenchError
from bench.interruption import once
from bench.texts import printable

EPILOG = """\
exit codes: 0 done; 1 done, but cells failed, a claim contradicted, a regression, or a data set with faults; 2 bad
            input; 3 a claim undecided or untestable, or a comparison inconclusive; 4 nothing measured; 5 results cannot
            be read or written; 130 interrupted (run again to continue)

examples:
  resbench run degradation                 the default study: digits, on a CPU in minutes
  resbench report degradation              its report, from the recorded tables alone
  resbench slices degradation              the loss around its trained nets
  resbench judge degradation               what the tables say of its claims
  resbench compact                         many small files of tables into few
  resbench net --depth 56 --shortcut A     parameters and multiply-adds of a net
  resbench evaluate W.pth --data folder:imagenet --depth 50      a trained net's errors
  resbench data cifar10                    download and verify CIFAR-10
  resbench data imagenet-check imagenet    is ImageNet whole, and can all of it be decoded?
  resbench compare HEAD~1 HEAD             is this commit slower?
  resbench gate                            is it slower than this machine's history?
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        with _terminable():
            return options.command(options)
    except ResbenchError as error:
        print(f"resbench: error: {printable(' '.join(str(error).splitlines()))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("resbench: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `resbench net … | head`
        sys.stderr.close()
        return EXIT_OK


class _Ended(KeyboardInterrupt):
    """Not KeyboardInterrupt itself: where that was raised while modules were imported, Python ended by SIGINT, not with
    our exit code, though it was caught (11 of 180 times)."""


def _terminable() -> contextlib.AbstractContextManager[None]:
    """After Ctrl-C, and SIGTERM to a job that is cancelled, and SIGHUP where the terminal is gone, what is open is
    closed, processes and worktrees; but what was to be ignored, as by nohup, still is."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return once((number for number in numbers if signal.getsignal(number) != signal.SIG_IGN), lambda _: _Ended())


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What was written; the name of a command may be two words."""
    parser, commands = _parser()
    name = " ".join(arguments[:2])
    return parser.parse_args([name, *arguments[2:]] if name in commands else arguments)


def _parser() -> tuple[argparse.ArgumentParser, Collection[str]]:
    """The parser, and the names of the commands."""
    parser = argparse.ArgumentParser(
        prog="resbench",
        description="Benchmarks and ablations of residual learning.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.set_defaults(command=lambda options: _version() if options.version else _help(parser))
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for usage in (usage_studies, usage_results, usage_data, usage_speed):
        usage.add(subparsers)
    return parser, subparsers.choices


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return EXIT_OK


def _version() -> int:
    from importlib.metadata import version

    print(f"resbench {version('resbench')}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
