#!/bin/sh
# What haproxy's package makes in /run and does not take with it. (Where it holds somebody's socket, it stays.)
case $1 in
capture) ;;
remove) if [ -d /run/haproxy ]; then rmdir /run/haproxy 2>/dev/null || true; fi ;;
esac
