"""The `kubeup` command."""

from gevent import monkey

monkey.patch_all()  # before every other import: pyinfra's time limits do not hold without it

from gevent.hub import Hub

from kubeup.cli.app import main

# Ctrl-C reaches whichever greenlet happens to run. gevent hands it on to the main one, which explains it; without this
# it would print the greenlet's traceback first.
Hub.NOT_ERROR = (*Hub.NOT_ERROR, KeyboardInterrupt)  # type: ignore[assignment]  # typed as exactly two

if __name__ == "__main__":
    main()
