"""Semantic IDs with PyTorch and transformers alone, from a folder of tools.export_hf_t5.

    python semantic_ids.py FOLDER "a title" "another title"

prints one ID a line, such as 17-3-101. The file needs nothing of gsid_jax; copy it.
"""

import json
import sys

from safetensors import safe_open
import torch
import torch.nn.functional as F
from transformers import T5ForConditionalGeneration


class SemanticIDs:
    """The exported model; texts or token ids in, codes out."""

    def __init__(self, folder: str):
        self.t5 = T5ForConditionalGeneration.from_pretrained(folder).eval()
        with safe_open(f"{folder}/gsid.safetensors", framework="pt") as file:
            metadata = file.metadata()
            self.tensors = {name: file.get_tensor(name) for name in file.keys()
                            if not name.startswith("state.")}
        self.levels = int(metadata["level"])
        self.options = json.loads(metadata["codebook"])
        self.pooled = float(metadata.get("pooled_output", 0))

    def unit(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(x, dim=-1) if self.options["lookup"] == "cosine" else x

    def log_probs(self, d: torch.Tensor, codes: torch.Tensor, t: int) -> torch.Tensor:
        """log P(z_t | codes before, text), [B, K], from the output d [B, D]."""
        x = self.unit(d)
        if t > 1 and self.options["centring"]:
            for j in range(t - 1):
                x = x - self.options["centring"] * self.tensors[f"centring.{t}"][j][codes[:, j]]
            x = self.unit(x)
        table = self.unit(self.tensors[f"codebook.{t}"])
        return torch.log_softmax(x @ table.T / self.options["temperature"], dim=-1)

    @torch.no_grad()
    def __call__(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Token ids [B, L], EOS at the end and 0 as padding -> codes [B, T]."""
        mask = (input_ids != 0).long()
        encoded = self.t5.encoder(input_ids=input_ids, attention_mask=mask)[0]
        mean = (encoded * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        codes = input_ids.new_zeros((len(input_ids), 0))
        columns = [self.tensors["bos"].expand(len(input_ids), -1)]
        for t in range(1, self.levels + 1):
            d = self.t5.decoder(
                inputs_embeds=torch.stack(columns, dim=1), encoder_hidden_states=encoded,
                encoder_attention_mask=mask, use_cache=False)[0][:, -1] + self.pooled * mean
            code = self.log_probs(d, codes, t).argmax(-1)
            codes = torch.cat([codes, code[:, None]], dim=1)
            if t < self.levels:
                columns.append(self.tensors[f"code_embeddings.{t}"][code])
        return codes


if __name__ == "__main__":
    from sentencepiece import SentencePieceProcessor
    pieces = SentencePieceProcessor(f"{sys.argv[1]}/spiece.model")
    model = SemanticIDs(sys.argv[1])
    for text in sys.argv[2:]:
        print("-".join(map(str, model(torch.tensor([pieces.encode(text) + [1]]))[0].tolist())))
