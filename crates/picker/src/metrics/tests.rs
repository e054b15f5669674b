use proptest::prelude::*;

use super::*;

fn parse(dialect: ModelServer, page: &str) -> Option<Figures> {
    let mut parser = Parser::new(dialect);
    parser.feed(page.as_bytes());
    parser.finish()
}

fn vllm(page: &str) -> Figures {
    parse(ModelServer::Vllm, page).unwrap()
}

#[test]
fn vllm_is_understood() {
    let figures = vllm(
        "# HELP vllm:num_requests_running Number of requests.\n# TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{engine=\"0\",model_name=\"qwen\"} 7.0\n\
         vllm:num_requests_waiting{engine=\"0\",model_name=\"qwen\"} 3.0\n\
         vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"qwen\"} 0.25\n\
         vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"1000\",swap_space=\"None\"} 1.0\n\
         vllm:prompt_tokens_total{model_name=\"qwen\"} 1.5e3\nprocess_start_time_seconds 1.7e9\n\
         vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 99\n",
    );
    let expected = Figures {
        waiting: 3.0,
        running: 7.0,
        kv: 0.25,
        kv_tokens: Some(16_000),
        adapters: None,
        models: vec!["qwen".into()],
        started: Some(1.7e9),
        served: Some(1500.0),
    };
    assert_eq!(figures, expected);
    assert_eq!(vllm("vllm:gpu_cache_usage_perc 0.5").kv, 0.5);
}

#[test]
fn sglang_is_understood() {
    let page = "sglang:num_running_reqs{tp_rank=\"0\"} 2\nsglang:num_queue_reqs 1\nsglang:token_usage 0.75\n\
                sglang:cache_config_info{page_size=\"64\",num_pages=\"10\"} 1\n";
    let figures = parse(ModelServer::Sglang, page).unwrap();
    assert_eq!((figures.waiting, figures.running, figures.kv, figures.kv_tokens), (1.0, 2.0, 0.75, Some(640)));
    assert_eq!(parse(ModelServer::Vllm, page), None);
}

#[test]
fn tensorrt_llm_is_understood_from_both_its_servers() {
    let serve = "trtllm_num_requests_waiting 4\ntrtllm_num_requests_running 5\ntrtllm_kv_cache_utilization 0.5\n\
                 trtllm_kv_cache_max_blocks 100\ntrtllm_kv_cache_tokens_per_block 32\n";
    let triton = "nv_trt_llm_request_metrics{model=\"m\",request_type=\"waiting\",version=\"1\"} 4\n\
                  nv_trt_llm_request_metrics{model=\"m\",request_type=\"scheduled\",version=\"1\"} 5\n\
                  nv_trt_llm_request_metrics{model=\"m\",request_type=\"max\",version=\"1\"} 512\n\
                  nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\"} 0.5\n\
                  nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"used\"} 50\n\
                  nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"tokens_per\"} 32\n\
                  nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\"} 100\n";
    for page in [serve, triton] {
        let figures = parse(ModelServer::TensorRtLlm, page).unwrap();
        assert_eq!((figures.waiting, figures.running, figures.kv, figures.kv_tokens), (4.0, 5.0, 0.5, Some(3200)));
    }
}

#[test]
fn queues_behind_one_port_are_summed_and_the_fullest_cache_counts() {
    let figures = vllm(
        "vllm:num_requests_waiting{engine=\"0\"} 1\nvllm:num_requests_waiting{engine=\"1\"} 2\n\
         vllm:kv_cache_usage_perc{engine=\"0\"} 0.9\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.1\n",
    );
    assert_eq!((figures.waiting, figures.kv), (3.0, 0.9));
}

#[test]
fn models_are_noted_once_and_no_more_than_are_remembered() {
    let line = |name: &str| format!("vllm:num_requests_waiting{{model_name=\"{name}\"}} 0\n");
    let page = [line("a/b"), line("c"), line("a/b"), line(""), line("q\\\"")].concat();
    assert_eq!(vllm(&page).models, ["a/b".into(), "c".into()]);
    let many: String = (0..2 * MOST_MODELS).map(|number| line(&number.to_string())).collect();
    assert_eq!(vllm(&many).models.len(), MOST_MODELS);
}

#[test]
fn the_newest_series_of_adapters_counts() {
    let line = |names, at| {
        format!("vllm:lora_requests_info{{max_lora=\"2\",running_lora_adapters=\"{names}\",waiting_lora_adapters=\"z\"}} {at}\n")
    };
    let page = ["vllm:num_requests_waiting 0\n".to_owned(), line("old", 1e9), line("a, b", 2e9), line("older", 0.5e9)].concat();
    let adapters = vllm(&page).adapters.unwrap();
    assert_eq!(adapters, Adapters { max: 2, running: vec!["a".into(), "b".into()], waiting: vec!["z".into()] });
}

#[test]
fn labels_may_contain_what_delimits_them() {
    let figures = vllm(
        "vllm:num_requests_waiting{model_name=\"a\\\"} 5,b=\\\"\",x=\"}\"} 3 1700000000\n\
         vllm:cache_config_info{note=\"block_size=\\\"9\\\",\", block_size = \"16\" ,num_gpu_blocks=\"2\",} 1\n",
    );
    assert_eq!((figures.waiting, figures.kv_tokens), (3.0, Some(32)));
}

#[test]
fn pages_without_load_and_nonsense_values_are_no_figures() {
    assert_eq!(parse(ModelServer::Vllm, "up 1\nprocess_start_time_seconds 5\n"), None);
    let nonsense = "vllm:num_requests_waiting NaN\nvllm:num_requests_waiting +Inf\nvllm:num_requests_waiting x\n\
                    vllm:num_requests_waiting\nvllm:num_requests_waiting{ 3\nvllm:num_requests_waiting{a=\"} 3\n";
    assert_eq!(parse(ModelServer::Vllm, nonsense), None);
    assert_eq!(vllm("vllm:num_requests_waiting -3\nvllm:kv_cache_usage_perc 7").kv, 1.0);
}

#[test]
fn overlong_lines_are_passed_over_wherever_the_pieces_end() {
    let long = format!("vllm:num_requests_waiting{{a=\"{}\"}} 1\nvllm:num_requests_running 2", "x".repeat(2 * LONGEST_LINE));
    for piece in [1000, LONGEST_LINE + 1] {
        let mut parser = Parser::new(ModelServer::Vllm);
        for piece in long.as_bytes().chunks(piece) {
            parser.feed(piece);
            assert!(parser.begun.len() <= LONGEST_LINE);
        }
        let figures = parser.finish().unwrap();
        assert_eq!((figures.waiting, figures.running), (0.0, 2.0));
    }
}

/// A sample as text, with what a plain reading of the format makes of it.
fn sample() -> impl Strategy<Value = (String, String, f64)> {
    let name = prop::sample::select(vec![
        "vllm:num_requests_waiting",
        "vllm:num_requests_running",
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "vllm:num_requests",
        "vllm:num_requests_waiting_sum",
        "http_requests_total",
    ]);
    let labels = prop::collection::vec(("[a-z_]{1,8}", "([a-z ,={}#]|\\\\\"|\\\\\\\\|\\\\n){0,12}"), 0..4);
    (name, labels, 0.0..1e6_f64, prop::bool::ANY).prop_map(|(name, labels, value, stamped)| {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let stamp = if stamped { " 1700000000000" } else { "" };
        (name.to_owned(), format!("{name}{labels} {value}{stamp}\n"), value)
    })
}

proptest! {
    #[test]
    fn a_page_means_the_same_in_any_pieces(samples in prop::collection::vec(sample(), 0..20), piece in 1_usize..200) {
        let page: String = samples.iter().map(|(_, line, _)| format!("# HELP x\n{line}")).collect();
        let mut parser = Parser::new(ModelServer::Vllm);
        page.as_bytes().chunks(piece).for_each(|piece| parser.feed(piece));
        let values = |names: [&'static str; 2]| {
            samples.iter().filter(move |(name, ..)| names.contains(&name.as_str())).map(|(.., value)| *value as f32)
        };
        let waiting: f32 = values(["vllm:num_requests_waiting", ""]).sum();
        let running: f32 = values(["vllm:num_requests_running", ""]).sum();
        let caches = ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"];
        let kv = values(caches).fold(0.0, |kv: f32, value| kv.max(value.min(1.0)));
        let loads = values(["vllm:num_requests_waiting", "vllm:num_requests_running"]).count() + values(caches).count();
        let figures = parser.finish();
        prop_assert_eq!(figures.is_some(), loads > 0);
        if let Some(figures) = figures {
            prop_assert_eq!((figures.waiting, figures.running, figures.kv), (waiting, running, kv));
        }
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), dialect in 0..3, name in any::<bool>()) {
        let dialect = [ModelServer::Vllm, ModelServer::Sglang, ModelServer::TensorRtLlm][dialect as usize];
        let mut parser = Parser::new(dialect);
        if name {
            parser.feed(b"vllm:lora_requests_info{max_lora=\"");
        }
        parser.feed(&bytes);
        parser.finish();
    }

    #[test]
    fn no_labels_are_a_panic(line in "(vllm:(lora_requests_info|cache_config_info|num_requests_waiting)[{}\"\\\\,= a-z_0-9]{0,40}\n){1,4}") {
        parse(ModelServer::Vllm, &line);
        let sample = Sample::parse(line.as_bytes());
        prop_assert!(sample.is_none_or(|sample| sample.label("max_lora").is_none_or(|value| value.len() < line.len())));
    }
}
