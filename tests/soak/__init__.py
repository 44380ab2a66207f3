"""A soak: the real daemon between bad hosts, many clients and a disk that is full.

``python -m tests.soak [--minutes N] [--seed N] [--log FILE] [--workers N] [--plain-http] [--cap SHARE]``,
or ``make soak ARGS="--minutes 10"``. For so long, after half a minute to warm up,

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
ends earlier is served before its blob can be verified; anyone who asks for parts has digests of them.)

With ``--cap 0.1``, the store has a limit of a tenth of what all images take, and nothing is emptied. There are
ten clients (`capped`), who also pull tags that move, pull by digest alone, and leave early. Beside them,

* an operator (`operator`) removes, pins, holds, refreshes and warms images, by the admin API and by commands;
* scrubs run one after the other (`scrubbing`), some of them interrupted;
* the disk goes bad (`damage`): stored blobs get a wrong byte or lose their end. Until a scrub that has begun
  later has ended, clients may get such bytes: their own check of the digest finds them, they wait for the scrub
  and pull again. These responses are counted apart; from the end of the scrub on, none is allowed;
* once a second somebody looks (`watching`) whether the limit is kept and all is there that is pinned or held.

In the end the upstream is gone, and each tag that is still answered must be pulled whole (`afterwards`). Of an
image that is pinned, held or warmed, a part may never have been pulled, so it is pulled once more before that.
Excused is what lacks a damaged blob that could not be fetched again.
"""
