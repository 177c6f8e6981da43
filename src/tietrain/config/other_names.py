"""What other toolkits and papers call our settings and schemes, for messages about names that tietrain does not have."""

# Ours, and what differs -> the last part of the key elsewhere.
_SETTINGS = {
    "optim.lr": "learn_rate base_lr max_lr peak_lr learning_rate eta lrate",
    "optim.name": "optimizer opt",
    "optim.schedule": "scheduler lr_scheduler lr_scheduler_type lr_schedule",
    "optim.warmup (a share of the budget)": (
        "lr_warmup warmup_steps warmup_updates warmup_iters num_warmup_steps warmup_ratio"
    ),
    "optim.min_lr_ratio (a share of the peak)": "min_lr final_lr lr_min end_lr",
    "optim.decay (a share of the budget)": "lr_decay_iters decay_steps decay_lr",
    "optim.clip_norm": "grad_clip max_grad_norm gradient_clip_val clip_grad clip",
    "optim.weight_decay": "wd l2",
    "optim.betas": "beta1 beta2 adam_betas",
    "train.batch_tokens (tokens of one step, not lines)": (
        "batch_size train_batch_size max_sentences batch bs max_tokens_per_batch per_device_train_batch_size "
        "mini_batch mini_batch_size tokens_per_batch"
    ),
    "train.max_steps or train.max_tokens": (
        "epochs epoch after_epochs after_batches n_epochs num_epochs max_epochs max_epoch num_train_epochs "
        "steps n_steps num_steps iterations iters max_iters max_update max_updates train_steps training_steps"
    ),
    "train.max_seconds": "max_time max_hours time_limit",
    "train.max_flops": "compute_budget",
    "train.ema": "exponential_smoothing ema_decay",
    "train.eval_every": (
        "eval_strategy evaluation_strategy val_interval eval_interval eval_steps valid_every validate_every "
        "val_check_interval valid_freq"
    ),
    "train.checkpoint_every": (
        "save_interval_updates always_save_checkpoint checkpoint_path save_every save_steps save_interval "
        "save_freq checkpoint_interval"
    ),
    "train.log_every": "log_every_n_steps log_interval logging_steps print_every disp_freq",
    "train.average": "average_checkpoints n_average",
    "train.trackers": "wandb report_to logger loggers tensorboard",
    "hardware.device_batch_tokens (tokens at once)": (
        "gradient_accumulation_steps accum_count grad_accum accumulate_grad_batches update_freq accumulation"
    ),
    "hardware.device": "gpu_ids device_map gpus n_gpus num_gpus cuda use_cuda accelerator",
    "hardware.precision": "bfloat16 fp16 bf16 tf32 allow_tf32 amp mixed_precision dtype half autocast",
    "hardware.threads": "num_workers n_threads num_threads workers cpus",
    "model": "arch model_name model_name_or_path",
    "model.max_len": "max_position_embeddings",
    "model.table_init_std": "initializer_range weight_init init init_std",
    "model.attn_bias or model.ffn_bias": "bias use_bias",
    "task.metrics": "valid_metrics bleu",
    "task.length_penalty": "normalize lenpen",
    "data.dataset": "dataset_name",
    "model.d_model": (
        "hidden_size hidden_dim dim dim_emb num_embed transformer_model_size n_embd emb_dim embed_dim "
        "embedding_dim embedding_size emb_size d_embed width encoder_embed_dim decoder_embed_dim rnn_size"
    ),
    "model.d_ff": (
        "transformer_dim_ffn ffn_dim intermediate_size n_inner dim_feedforward ffn_embed_dim feedforward_dim "
        "transformer_ff"
    ),
    "model.n_layers": (
        "dec_depth layers num_layers num_hidden_layers n_layer depth dec_layers decoder_layers num_decoder_layers"
    ),
    "model.n_encoder_layers": "enc_depth enc_layers encoder_layers num_encoder_layers",
    "model.n_heads": (
        "transformer_heads heads num_heads num_attention_heads n_head nhead attention_heads encoder_attention_heads"
    ),
    "model.n_kv_heads": "num_key_value_heads n_kv_head kv_heads n_query_groups",
    "model.d_head": "head_dim head_size",
    "model.vocab_size": "dim_vocabs vocab vocabulary_size n_vocab bpe_size num_merges merges",
    "model.target_vocab_size": "tgt_vocab_size vocab_size_tgt target_vocabulary_size tgt_vocabulary_size",
    "data.vocabulary": (
        "vocab_file vocab_path spm_model tokenizer_path tokenizer_file sentencepiece_model srcdict tgtdict"
    ),
    "model.positions": (
        "rotary rope_theta rope position_embedding_type pos_emb position_encoding positional_encoding use_rope"
    ),
    "model.norm_position": "norm_first prenorm pre_norm encoder_normalize_before decoder_normalize_before pre_ln",
    "model.norm": "rmsnorm layer_norm norm_type",
    "model.activation": "relu swiglu glu act activation_fn activation_function hidden_act",
    "model.dropout": (
        "emb_dropout attention_probs_dropout_prob activation_dropout dropout_rate attention_dropout "
        "hidden_dropout_prob resid_pdrop embd_pdrop p_drop"
    ),
    "task.window": (
        "block_size context_length seq_len sequence_length seq_length max_seq_len n_ctx ctx_len context bptt"
    ),
    "task.max_len": "max_length max_source_positions src_seq_length",
    "task.beam": "beam_size num_beams beam_width",
    "task.label_smoothing": "label_smoothing_factor smoothing label_smooth",
    "task.mask_rate": "mlm_probability mask_prob masking_rate",
    "data.columns": "lang langs languages source_lang target_lang src tgt target src_lang tgt_lang text_column",
    "data.splits": (
        "file files train_file train_files validation_file train_data train_set valid test dataset_path path "
        "data.train data.valid data.test data.dev data.validation"
    ),
    "data.kind": "tokenizer_name tokenizer tokenizer_type model_type bpe",
    "seed": "seed_everything random_seed manual_seed rng_seed",
    "run_dir": "output_dir save_dir out_dir outdir out logdir log_dir checkpoint_dir",
    "retry_failed": "retry",
    "study": "experiment_name project group run_name exp",
    "init_tables.source": "encoder_embed_path pre_word_vecs_enc",
    "init_tables.input": "decoder_embed_path pre_word_vecs_dec embedding_vectors pretrained_embeddings word_vectors",
    "init_from": "load_from pretrained finetune_from restore_file checkpoint",
    "tying": (
        "tie_word_embeddings tie_weights weight_tying tied_embeddings share_all_embeddings share_embeddings "
        "tie sharing share_decoder_input_output_embed scheme tied_embeddings_all tied_embeddings_src "
        "weight_tying_type tie_embeddings share_layers"
    ),
}
# What is done here without a setting -> settings for it elsewhere.
_WAYS = {
    "the weights of the best evaluation are scored, and a budget ends the run": (
        "patience early_stopping early_stop load_best_model_at_end"
    ),
    "a run has one device, and cells of a grid run side by side (docs/cli.md)": (
        "world_size ddp distributed nodes num_nodes"
    ),
    "the same command goes on with a run, as does `tietrain resume RUN`": "resume resume_from_checkpoint continue",
    "a finished run stays: give another study, or remove its folder": "force overwrite restart rerun",
}
# Task here -> its names elsewhere.
_TASKS = {
    "lm": "clm causal causal_lm language_model language_modeling language_modelling gpt",
    "mlm": "masked masked_lm bert",
    "mt": "translation nmt seq2seq translate",
}
# Scheme here -> its names elsewhere.
_SCHEMES = {
    "none": "untied no off false baseline separate",
    "pre_softmax": "tied tie weight_tying tie_weights input_output output_embedding true on yes",
    "three_way": "all shared share_all all_embeddings vaswani",
    "shared_vocab": "joint joint_vocab joint_vocabulary",
    "cross_layer": "albert layer_sharing cross_layer_sharing share_layers all_layers",
    "universal": "ut universal_transformer looped loop recurrent",
    "sandwich": "subformer",
    "encoder_decoder": "enc_dec encdec share_encoder_decoder",
}


def _by_name(names: dict[str, str]) -> dict[str, str]:
    return {other: ours for ours, others in names.items() for other in others.split()}


SETTINGS = _by_name(_SETTINGS)
WAYS = _by_name(_WAYS)
# Group -> other name -> choice.
CHOICES = {"task": _by_name(_TASKS), "tying": _by_name(_SCHEMES)}
