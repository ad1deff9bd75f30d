"""The `kubeup` command."""

from gevent import monkey

monkey.patch_all()  # before every other import: pyinfra's time limits do not hold without it

from kubeup.cli.app import main

if __name__ == "__main__":
    main()
