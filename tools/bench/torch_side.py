"""The same steps in PyTorch with Hugging Face's T5, for comparison.

Encoder on items and queries, decoder over t positions (learned start, then embedded codes), the
in-batch contrastive loss, KL alignment, entropy balance, cross-entropies and AdamW with clipping:
what `GSIDModel` does at a step, written the way a PyTorch user would.
"""

import torch
from torch.nn import functional as F
from transformers import T5Config, T5ForConditionalGeneration

from tools.bench.shapes import Case


class Model(torch.nn.Module):
    """T5 1.1 with code embeddings and codebooks."""

    def __init__(self, case: Case, dropout: float):
        super().__init__()
        n = case.network
        self.t5 = T5ForConditionalGeneration(T5Config(
            vocab_size=n["vocab_size"], d_model=n["emb_dim"], d_kv=n["head_dim"],
            d_ff=n["mlp_dim"], num_layers=n["num_encoder_layers"],
            num_decoder_layers=n["num_decoder_layers"], num_heads=n["num_heads"],
            feed_forward_proj="gated-gelu", dropout_rate=dropout, tie_word_embeddings=False,
            use_cache=False))
        width = n["emb_dim"]
        self.start = torch.nn.Parameter(torch.randn(width))
        self.codes = torch.nn.ModuleList(
            torch.nn.Embedding(case.K, width) for _ in range(case.T - 1))
        self.register_buffer("books", torch.randn(case.T, case.K, width))
        self.register_buffer("counts", torch.ones(case.K))
        self.register_buffer("sums", torch.randn(case.K, width))

    def encode(self, tokens):
        mask = (tokens > 0).long()
        return self.t5.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state, mask

    def decode(self, encoded, mask, prefix):
        """[n, C] codes -> outputs [n, C + 1, D]."""
        columns = [self.start.expand(encoded.shape[0], 1, -1).to(encoded.dtype)]
        columns += [self.codes[i](prefix[:, i:i + 1]) for i in range(prefix.shape[1])]
        return self.t5.decoder(inputs_embeds=torch.cat(columns, 1), encoder_hidden_states=encoded,
                               encoder_attention_mask=mask, use_cache=False).last_hidden_state

    def log_probs(self, d):
        """Of every level: [n, t, D] -> [n, t, K]."""
        books = F.normalize(self.books[:d.shape[1]], dim=-1)
        return F.log_softmax(torch.einsum("ntd,tkd->ntk", F.normalize(d, dim=-1), books) / 0.1, -1)


def gsid_loss(model: Model, case: Case, batch) -> torch.Tensor:
    prefix_q = batch["item_codes"].repeat_interleave(case.Q, 0)
    items = model.decode(*model.encode(batch["item_tokens"]), batch["item_codes"]).float()
    queries = model.decode(*model.encode(batch["query_tokens"]), prefix_q).float()
    own = torch.arange(case.B).repeat_interleave(case.Q).to(items.device)
    sim = F.normalize(queries[:, -1], dim=-1) @ F.normalize(items[:, -1], dim=-1).T / 0.05
    loss = F.cross_entropy(sim, own)
    p, q = model.log_probs(items), model.log_probs(queries)
    p_own = p[own, -1]
    loss = loss + 0.5 * (F.kl_div(q[:, -1], p_own, reduction="batchmean", log_target=True)
                         + F.kl_div(p_own, q[:, -1], reduction="batchmean", log_target=True))
    mean = p[:, -1].exp().mean(0)
    loss = loss + (mean * mean.clamp_min(1e-9).log()).sum()
    codes = p[:, -1].argmax(-1)
    loss = loss + 0.3 * (F.nll_loss(p[:, -1], codes) + F.nll_loss(q[:, -1], codes[own]))
    for i in range(case.t - 1):
        loss = loss + F.nll_loss(p[:, i], batch["item_codes"][:, i])
        loss = loss + F.nll_loss(q[:, i], prefix_q[:, i])
        for side, stored in ((p, batch["item_soft"]), (q, batch["query_soft"])):
            loss = loss + 4 * F.kl_div(side[:, i], stored[:, i], reduction="batchmean")
    with torch.no_grad():  # the codebook's moving average
        hot = F.one_hot(codes, case.K).float()
        model.counts.mul_(0.99).add_(hot.sum(0), alpha=0.01)
        model.sums.mul_(0.99).add_(hot.T @ F.normalize(items[:, -1], dim=-1), alpha=0.01)
        model.books[case.t - 1] = model.sums / model.counts[:, None].clamp_min(1e-5)
    return loss


def pretrain_loss(model: Model, case: Case, batch) -> torch.Tensor:
    out = model.t5(input_ids=batch["encoder_input_tokens"],
                   attention_mask=(batch["encoder_input_tokens"] > 0).long(),
                   decoder_input_ids=batch["decoder_input_tokens"], use_cache=False).logits
    return F.cross_entropy(out.float().flatten(0, 1), batch["decoder_target_tokens"].flatten())


def train_step(case: Case, batch: dict, device: str = "cpu", compiled: bool = False,
               dropout: float = 0.0):
    """A function that runs one step and returns the loss."""
    torch.manual_seed(0)
    model = Model(case, dropout).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    batch = {name: torch.as_tensor(value).to(device) for name, value in batch.items()}
    batch = {name: v.long() if not v.is_floating_point() else v for name, v in batch.items()}
    loss_fn = gsid_loss if case.t else pretrain_loss
    if compiled:
        model.encode, model.decode = torch.compile(model.encode), torch.compile(model.decode)
    bf16 = case.dtype == "bfloat16"

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=bf16):
            loss = loss_fn(model, case, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def _predictor(case: Case, device: str, compiled: bool):
    """tokens [n, L] -> IDs [n, t], greedily, the encoder running once.

    The decoder keeps its keys and values between positions, as `generate` does.
    """
    torch.manual_seed(0)
    model = Model(case, 0.0).to(device).eval()
    bf16 = case.dtype == "bfloat16"
    if compiled:
        model.encode = torch.compile(model.encode)

    def predict(tokens):
        with torch.inference_mode(), torch.autocast(device.split(":")[0], torch.bfloat16,
                                                    enabled=bf16):
            encoded, mask = model.encode(torch.as_tensor(tokens).long().to(device))
            x, past, codes = model.start.expand(encoded.shape[0], 1, -1), None, []
            for i in range(case.t):
                out = model.t5.decoder(
                    inputs_embeds=x, encoder_hidden_states=encoded, encoder_attention_mask=mask,
                    past_key_values=past, use_cache=True)
                past = out.past_key_values
                book = F.normalize(model.books[i], dim=-1)
                logits = F.normalize(out.last_hidden_state[:, 0].float(), dim=-1) @ book.T
                codes.append(logits.argmax(-1))
                if i + 1 < case.t:
                    x = model.codes[i](codes[-1])[:, None]
            return torch.stack(codes, 1).cpu().numpy()

    return predict


def infer_step(case: Case, tokens, device: str = "cpu", compiled: bool = False):
    """A function that gives the IDs of one batch."""
    predict = _predictor(case, device, compiled)
    return lambda: predict(tokens)


def infer_titles(case: Case, lists: list[list[int]], device: str = "cpu", compiled: bool = False):
    """A function that gives the IDs of all texts, each batch padded to its longest."""
    predict = _predictor(case, device, compiled)

    def step():
        for start in range(0, len(lists), case.B):
            part = [torch.tensor(ids) for ids in lists[start:start + case.B]]
            predict(torch.nn.utils.rnn.pad_sequence(part, batch_first=True))

    return step


def matmul_peak(device: str = "cpu", dtype: str = "float32", size: int = 2048):
    """A function that multiplies two square matrices, and its FLOPs."""
    kind = getattr(torch, dtype)
    a, b = (torch.randn(size, size, dtype=kind, device=device) for _ in range(2))
    return lambda: (a @ b).flatten()[0].item(), 2 * size**3
