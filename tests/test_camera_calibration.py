"""A camera's light and scale: measured, kept in a file, used, and refused where they do not fit."""

from __future__ import annotations

import json
import sqlite3
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import fake_picamera2
import fake_v4l2
import numpy as np
import pytest
from command import refused, run_command
from numpy.typing import NDArray
from optics import blank, light, micrometer, red_cells
from tiny_model import write_tiny_model

from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.calibrated import CalibratedCamera
from qlvit_edge.camera.calibration import CameraCalibration, Loaded, read_calibration
from qlvit_edge.camera.folder import FolderCamera
from qlvit_edge.camera.sources import open_camera
from qlvit_edge.errors import CalibrationError
from qlvit_edge.microscope.calibrating import scale_of_micrometer, scale_of_red_cells
