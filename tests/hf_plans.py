"""The plans that are proved to be the same in transformers; docs/hugging_face.md shows them."""

GPT2, LLAMA, MARIAN = ["task=lm", "model=gpt2"], ["task=lm", "model=mobilellm_125m"], ["task=mt", "model=vaswani_base"]
GROUPED = "model.n_kv_heads=2"
BIASES = ["model.attn_bias=true", "model.ffn_bias=true"]
PLANS = {
    "none": [*GPT2, "tying=none"],
    "pre_softmax": [*GPT2, "tying=pre_softmax", "model.activation=relu"],
    "cycle": [*GPT2, "tying=cycle", "model.attn_bias=false", "model.activation=gelu_tanh"],
    "universal, grouped queries": [*LLAMA, "tying=universal", GROUPED],
    "pre_softmax, grouped queries, biases": [*LLAMA, "tying=pre_softmax", GROUPED, *BIASES, "model.d_head=8"],
    "three_way, output bias": [*MARIAN, "tying=three_way", "model.output_bias=true"],
    "none, two vocabularies": [*MARIAN, "tying=none", "model.target_vocab_size=50", "model.n_encoder_layers=2"],
    "pre_softmax of the decoder": [*MARIAN, "tying=pre_softmax", "model.activation=gelu"],
    "embeddings and cycle": [*MARIAN, "tying=[embeddings,cycle]", "model.attn_bias=true"],
    "encoder_decoder": [*MARIAN, "tying=encoder_decoder"],
}
