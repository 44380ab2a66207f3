"""A soak: the real daemon between bad hosts, many clients and a disk that is full.

``python -m tests.soak [--minutes N] [--seed N] [--log FILE] [--workers N] [--plain-http]``, or
``make soak ARGS="--minutes 10"``. For so long, after half a minute to warm up,

* four hosts of one upstream (`upstream`, a process of its own) have the same 200 images, and spoil
  about a third of their answers (`faults`): they reset, cut, stall, trickle, send a wrong byte, another
  status, a limit, everything instead of a range; now and then one is down for some seconds;
* 32 clients (`client`) pull images as containerd does, each in an order of its own: the digest of a tag,
  the manifest, config and layers three at a time, sometimes a range. A request that fails is sent again,
  up to five times, from the byte where it ended;
* the daemon stores on a volume that is too small for half of the images (`volume`), and now and then
  everything that is stored is removed under its hands.

The hosts, the clients and the daemon are processes of their own; what a seed chooses is the same each
time, but not what meets what. In the end the figures are printed, and each bound that is broken
(`figures`): no pull that fails, no wrong byte in a response that is complete and reaches the end of its
blob, memory and open files flat, nothing left over. The exit status is 1 if there is any. (A part that
ends earlier is served before its blob can be verified; who asks for parts has digests of them.)
"""
