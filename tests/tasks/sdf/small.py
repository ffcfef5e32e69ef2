"""A model that learns a smooth shape in a second or two."""

import copy

from nrc_tracer.tasks.sdf.fit import CONFIG

SMALL = copy.deepcopy(CONFIG)
SMALL["encoding"] |= {"n_levels": 4, "log2_hashmap_size": 15, "base_resolution": 8, "per_level_scale": 1.5}
SMALL["network"]["n_neurons"] = 32
SMALL["optimizer"]["nested"] |= {"decay_start": 200, "decay_interval": 40}
SMALL["optimizer"]["nested"]["nested"]["learning_rate"] = 4e-3
# Near the surface a coarse grid cannot resolve the targets: half of them are inside, so their median is 0, but their mean is
# not
SMALL["loss"] = {"otype": "L2"}
