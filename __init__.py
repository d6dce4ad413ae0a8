"""halfulp: exact emulation of numeric formats for NumPy, PyTorch and JAX.

import halfulp as hu

hu.quantize(x, "fp8_e4m3")                                      # nearest even, saturating
hu.quantize(x, "e3m2", rounding="stochastic", seed=0)           # any minifloat, the same bits everywhere
hu.encode(x, "int8"), hu.decode(codes, "int8")                  # codes and back
hu.array(x, "fp16") / 3                                         # an array that rounds every operation
hu.format("fp4_e2m1"), hu.list_formats()                        # what the formats are
hu.sweep("digits", formats=["e4m3", "int8"], store="runs.db")   # what they do to a model
"""

from .emulate import analysis as analysis
from .emulate import linalg as linalg
from .emulate.complexes import from_widely_linear as from_widely_linear
from .emulate.complexes import to_widely_linear as to_widely_linear
from .emulate.decompose import decompose as decompose
from .emulate.encoded import Encoded as Encoded
from .emulate.encoded import Scales as Scales
from .emulate.files import FileError as FileError
from .emulate.files import load as load
from .emulate.files import save as save
from .emulate.learning import learn_codebook as learn_codebook
from .emulate.native import native as native
from .emulate.packing import Packed as Packed
from .emulate.packing import pack as pack
from .emulate.packing import pack_codes as pack_codes
from .emulate.packing import unpack as unpack
from .emulate.packing import unpack_codes as unpack_codes
from .emulate.philox import Shard as Shard
from .emulate.philox import fold_stream as fold_stream
from .emulate.quantize import decode as decode
from .emulate.quantize import encode as encode
from .emulate.quantize import quantize as quantize
from .emulate.quantize import scales as scales
from .emulate.rounded.arrays import RoundedArray as RoundedArray
from .emulate.rounded.arrays import array as array
from .emulate.rounded.combining import fma as fma
from .emulate.rounded.context import Arithmetic as Arithmetic
from .emulate.rounded.context import arithmetic as arithmetic
from .emulate.rounded.transformation import rounded as rounded
from .emulate.traced import format_data as format_data
from .emulate.traced import rounding_data as rounding_data
from .emulate.transforms import hadamard as hadamard
from .emulate.transforms import hadamard_signs as hadamard_signs
from .emulate.units.accumulator import Accumulator as Accumulator
from .emulate.units.convolution import convolve as convolve
from .emulate.units.matmul import matmul as matmul
from .formats.catalogue import format as format
from .formats.catalogue import list_formats as list_formats
from .formats.catalogue import list_scaled_formats as list_scaled_formats
from .formats.codebooks import ChannelCodebooks as ChannelCodebooks
from .formats.codebooks import CodebookFormat as CodebookFormat
from .formats.codebooks import codebook as codebook
from .formats.complexes import ComplexFormat as ComplexFormat
from .formats.floats import FloatFormat as FloatFormat
from .formats.integers import IntFormat as IntFormat
from .formats.residual import ResidualFormat as ResidualFormat
from .formats.residual import bayesian_bits as bayesian_bits
from .formats.residual import binary_coding as binary_coding
from .formats.residual import residual as residual
from .formats.rounding import Rounding as Rounding
from .formats.rounding import stochastic as stochastic
from .formats.scaled import ScaledFormat as ScaledFormat
from .formats.scaled_registry import scaled as scaled
from .formats.tapered import TaperedFormat as TaperedFormat
from .formats.transform import Hadamard as Hadamard
from .sim.allocation.allocate import Allocation as Allocation
from .sim.allocation.allocate import allocate as allocate
from .sim.allocation.allocate import pareto as pareto
from .sim.allocation.sensitivity import sensitivity as sensitivity
from .sim.conversion.conversion import convert as convert
from .sim.conversion.conversion import load_model as load_model
from .sim.conversion.conversion import model_bits as model_bits
from .sim.conversion.conversion import save_model as save_model
from .sim.costs.accelerators import list_accelerators as list_accelerators
from .sim.costs.accelerators import roofline as roofline
from .sim.costs.area import mac_area as mac_area
from .sim.costs.cost import accumulator_bits as accumulator_bits
from .sim.costs.cost import bit_operations as bit_operations
from .sim.costs.cost import gemm as gemm
from .sim.costs.cost import stored_bits as stored_bits
from .sim.costs.energy import mac_energy as mac_energy
from .sim.costs.model_cost import costs as costs
from .sim.costs.model_cost import gemms as gemms
from .sim.costs.recipe_cost import recipe_cost as recipe_cost
from .sim.costs.recipe_cost import recipe_costs as recipe_costs
from .sim.functions.quantized import quantized as quantized
from .sim.optimizers.optimizers import low_precision as low_precision
from .sim.optimizers.optimizers import muon as muon
from .sim.optimizers.optimizers import settle as settle
from .sim.optimizers.orthogonal import orthogonalize as orthogonalize
from .sim.optimizers.oscillation import Freezing as Freezing
from .sim.optimizers.oscillation import Ramping as Ramping
from .sim.optimizers.storage import Storage as Storage
from .sim.optimizers.storages import list_storages as list_storages
from .sim.optimizers.storages import storage as storage
from .sim.optimizers.stored import Stored as Stored
from .sim.probes.probes import Probe as Probe
from .sim.probes.probes import watch as watch
from .sim.probes.statistics import GradientStatistics as GradientStatistics
from .sim.probes.statistics import TensorStatistics as TensorStatistics
from .sim.probes.statistics import gradient_statistics as gradient_statistics
from .sim.probes.statistics import tensor_statistics as tensor_statistics
from .sim.recipes.published import list_recipes as list_recipes
from .sim.recipes.published import recipe as recipe
from .sim.recipes.published import uniform as uniform
from .sim.recipes.quantizer import Quantizer as Quantizer
from .sim.recipes.realizable import check_realizable as check_realizable
from .sim.recipes.recipe import Recipe as Recipe
from .sim.recipes.rules import Rule as Rule
from .sim.sweeps.store import StoreError as StoreError
from .sim.sweeps.sweep import sweep as sweep
from .sim.tasks.loading import list_tasks as list_tasks
from .sim.tasks.loading import task as task
from .sim.tasks.order import data_order as data_order
from .sim.tasks.task import Task as Task
from .sim.tasks.twins import torch_model as torch_model
from .sim.training.trainer import train as train
from .sim.training.training import Run as Run
from .sim.training.training import Trained as Trained
from .sim.training.training import Training as Training
from .sim.wrapping.wrapping import advance_ as advance_
from .sim.wrapping.wrapping import after_step_ as after_step_
from .sim.wrapping.wrapping import check_finite as check_finite
from .sim.wrapping.wrapping import dequantize_ as dequantize_
from .sim.wrapping.wrapping import explain as explain
from .sim.wrapping.wrapping import extra_parameters as extra_parameters
from .sim.wrapping.wrapping import load_state_dict as load_state_dict
from .sim.wrapping.wrapping import quantize_ as quantize_
from .sim.wrapping.wrapping import quantized_functions as quantized_functions
from .sim.wrapping.wrapping import state_dict as state_dict

__version__ = "0.1.0"
