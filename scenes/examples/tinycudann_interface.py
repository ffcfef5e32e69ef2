"""Learn a picture with code written for tiny-cuda-nn's Python package: only the import differs, and it also runs on the CPU.

python scenes/examples/tinycudann_interface.py [OUTPUT_FOLDER]
"""

import math
import sys
from pathlib import Path

import torch

import nrc_tracer as nrc
from nrc_tracer.nn import tinycudann as tcnn

PICTURE = Path(__file__).resolve().parent.parent / "pictures" / "window-room.png"
ENCODING = {
    "otype": "HashGrid",
    "n_levels": 16,
    "n_features_per_level": 2,
    "log2_hashmap_size": 15,
    "base_resolution": 16,
    "per_level_scale": 1.5,
}
NETWORK = {
    "otype": "FullyFusedMLP",
    "activation": "ReLU",
    "output_activation": "None",
    "n_neurons": 64,
    "n_hidden_layers": 2,
}


def main(folder: Path, *, steps: int = 300, batch: int = 2**14) -> float:
    """Train on random pixels; return the PSNR of the whole picture in dB."""
    model = tcnn.NetworkWithInputEncoding(2, 3, ENCODING, NETWORK)
    device = next(model.parameters()).device
    picture = torch.tensor(nrc.Image.load(PICTURE).rgb, device=device).clamp(0.0, 1.0)
    height, width, _ = picture.shape
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, eps=1e-15, fused=True)
    for _ in range(steps):
        y = torch.randint(height, (batch,), device=device)
        x = torch.randint(width, (batch,), device=device)
        positions = torch.stack(((x + 0.5) / width, (y + 0.5) / height), dim=1)
        loss = torch.nn.functional.mse_loss(model(positions).float(), picture[y, x])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with torch.no_grad():
        rows, columns = (torch.arange(n, device=device) for n in (height, width))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        positions = torch.stack(((x + 0.5) / width, (y + 0.5) / height), dim=-1).view(-1, 2)
        learned = model(positions).float().view(height, width, 3)
    psnr = -10.0 * math.log10(torch.nn.functional.mse_loss(learned, picture).item())
    nrc.Image(learned.cpu().numpy()).save(folder / "learned-picture.png")
    print(f"{steps} steps of {batch} pixels: PSNR {psnr:.1f} dB")
    return psnr


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
