"""Measures one thing in one framework, in a process of its own, and prints it as JSON.

Started by the benchmarks of this folder; alone, for one measurement:

    python -m tools.bench.worker '{"framework": "jax", "what": "train", "case": {"size": "tiny"}}'
"""

import json
import os
import statistics
import sys
import time


def measure(job: dict) -> dict:
    """{'seconds': median of a call, 'cpu_seconds': mean over cores of a call, ...}.

    job: framework 'jax' or 'torch'; what 'train', 'infer', 'infer_titles' or 'matmul'; case (`shapes.Case`);
    device 'cpu' or 'cuda' (PyTorch); compiled (PyTorch); calls, warm_up; options of the trainer.
    """
    step, extra = _make(job)
    begun = time.perf_counter()
    for _ in range(job.get("warm_up", 2)):
        step()
    warm = time.perf_counter() - begun
    seconds, cpu = [], time.process_time()
    for _ in range(job.get("calls", 5)):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    cpu = (time.process_time() - cpu) / len(seconds)
    return {**job, "seconds": statistics.median(seconds), "best": min(seconds), "cpu_seconds": cpu,
            "warm_up_seconds": warm, "all_seconds": seconds, **extra}


def _make(job: dict):
    from tools.bench import shapes
    case = shapes.case(**job.get("case", {}))
    framework, what = job["framework"], job["what"]
    device = job.get("device", "cpu")
    if framework == "torch":
        from tools.bench import torch_side as side
        import torch
        if job.get("threads"):
            torch.set_num_threads(job["threads"])
        options = {"device": device, "compiled": job.get("compiled", False)}
        extra = {"threads": torch.get_num_threads()}
    else:
        if device == "cpu":
            os.environ["JAX_PLATFORMS"] = "cpu"
        from tools.bench import jax_side as side
        import jax
        options, extra = dict(job.get("options", {})), {"device_kind": jax.devices()[0].device_kind}
    if what == "matmul":
        if framework == "torch":
            step, flops = side.matmul_peak(device, case.dtype, job.get("matmul_size", 2048))
        else:
            step, flops = side.matmul_peak(case.dtype, job.get("matmul_size", 2048))
        return step, extra | {"flops": flops}
    # The batch is made without JAX for PyTorch, so that no second thread pool is at work.
    from tools.bench import batches
    batch = batches.random_batch(case)
    if what == "infer":
        return side.infer_step(case, batch["item_tokens"], **options), extra | {"texts": case.B}
    if what == "infer_titles":
        lists = batches.titles(case, 8 * case.B)
        return side.infer_titles(case, lists, **options), extra | {"texts": len(lists)}
    if framework == "torch":
        return side.train_step(case, batches.torch_batch(case, batch), **options), extra
    return side.train_step(case, batch, **options), extra | {"flops": side.step_flops(case, batch)}


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
