"""What vLLM loads of ours: the dynamic families as its models, and image tokens that nobody samples.

The only room besides `bridge/rollouts` that knows vLLM. vLLM finds `plugin.register` by the entry point
`vllm.general_plugins` and calls it in each of its processes.
"""
