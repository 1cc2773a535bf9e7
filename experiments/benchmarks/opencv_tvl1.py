"""OpenCV-contrib's DualTVL1 as a process of its own.

For each line `<pair.npy> <flow.npy>` it computes and answers with seconds. It runs in its own
environment, because opencv-contrib and albumentations' OpenCV both own the folder `cv2`.
"""

import sys
import time

import cv2
import numpy as np

cv2.setNumThreads(1)
algorithm = cv2.optflow.DualTVL1OpticalFlow_create()
for line in sys.stdin:
    pair, out = line.split()
    previous, following = np.load(pair)
    start = time.perf_counter()
    flow = algorithm.calc(previous, following, None)
    seconds = time.perf_counter() - start
    np.save(out, flow)
    print(seconds, flush=True)
