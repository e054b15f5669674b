"""Writes a language model of a few thousand random weights, in GGUF: it speaks nonsense, but a real engine runs it."""

import sys

import gguf
import numpy

EMBEDDING, HEADS, LAYERS, FEED_FORWARD, CONTEXT = 64, 4, 2, 128, 512


def vocabulary():
    """Three special tokens, and one for each byte, so that every text has tokens."""
    tokens = [(b"<unk>", gguf.TokenType.UNKNOWN), (b"<s>", gguf.TokenType.CONTROL), (b"</s>", gguf.TokenType.CONTROL)]
    tokens += [(f"<0x{byte:02X}>".encode(), gguf.TokenType.BYTE) for byte in range(256)]
    tokens += [(text.encode(), gguf.TokenType.NORMAL) for text in ["▁", "▁gate", "▁street", "▁lantern", "▁river", "▁bell"]]
    return tokens


def write(path):
    tokens = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(EMBEDDING)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(EMBEDDING // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    random = numpy.random.default_rng(7)

    def weights(name, *shape):
        writer.add_tensor(name, (random.standard_normal(shape) * 0.2).astype(numpy.float32))

    def ones(name):
        writer.add_tensor(name, numpy.ones(EMBEDDING, dtype=numpy.float32))

    weights("token_embd.weight", len(tokens), EMBEDDING)
    weights("output.weight", len(tokens), EMBEDDING)
    ones("output_norm.weight")
    for layer in range(LAYERS):
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"]:
            weights(f"blk.{layer}.{part}.weight", EMBEDDING, EMBEDDING)
        weights(f"blk.{layer}.ffn_gate.weight", FEED_FORWARD, EMBEDDING)
        weights(f"blk.{layer}.ffn_up.weight", FEED_FORWARD, EMBEDDING)
        weights(f"blk.{layer}.ffn_down.weight", EMBEDDING, FEED_FORWARD)
        ones(f"blk.{layer}.attn_norm.weight")
        ones(f"blk.{layer}.ffn_norm.weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(sys.argv[1])
