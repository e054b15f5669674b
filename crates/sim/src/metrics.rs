//! `/metrics` in the Prometheus text format, under the names of the engine that is imitated.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::{Config, MetricsDialect};
use crate::driver::State;
use crate::text::FinishReason;

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 16] = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Counts that the engine itself does not keep: ends and latencies.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) stopped: u64,
    pub(crate) at_length: u64,
    pub(crate) aborts: u64,
    time_to_first_token: Histogram,
    inter_token: Histogram,
    end_to_end: Histogram,
}

impl Recorder {
    pub(crate) fn first_token(&mut self, after: Duration) {
        self.time_to_first_token.observe(after);
    }

    pub(crate) fn next_token(&mut self, after: Duration) {
        self.inter_token.observe(after);
    }

    pub(crate) fn finished(&mut self, reason: FinishReason, after: Duration) {
        self.end_to_end.observe(after);
        match reason {
            FinishReason::Length => self.at_length += 1,
            FinishReason::Stop | FinishReason::ToolCalls => self.stopped += 1,
        }
    }

    pub(crate) fn aborted(&mut self) {
        self.aborts += 1;
    }
}

#[derive(Debug, Default)]
struct Histogram {
    /// Observations per bucket, not cumulated; those beyond the last bound are in `count` alone.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, value: Duration) {
        let seconds = value.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }
}

/// The page.
pub(crate) fn render(config: &Config, state: &State) -> String {
    let mut page = Page { text: String::with_capacity(4096), labels: String::new() };
    let model = escape(&config.models[0]);
    match config.metrics {
        MetricsDialect::Vllm => {
            page.labels = format!("engine=\"0\",model_name=\"{model}\"");
            vllm(&mut page, config, state);
        }
        MetricsDialect::Sglang => {
            page.labels = format!("engine_type=\"unified\",model_name=\"{model}\",tp_rank=\"0\"");
            sglang(&mut page, config, state);
        }
        MetricsDialect::Trtllm => {
            page.labels = format!("engine_type=\"trtllm\",model_name=\"{model}\"");
            trtllm(&mut page, config, state);
        }
    }
    page.text
}

fn vllm(page: &mut Page, config: &Config, state: &State) {
    let (engine, recorder, totals) = (&state.engine, &state.recorder, state.engine.totals());
    page.gauge("vllm:num_requests_running", "Requests in the running batch.", engine.running() as f64);
    page.gauge("vllm:num_requests_waiting", "Requests waiting to be scheduled.", engine.waiting() as f64);
    page.gauge("vllm:kv_cache_usage_perc", "Share of KV blocks held, 0 to 1.", engine.kv_usage());
    let (block_size, blocks) = (config.block_size, config.num_blocks);
    page.info(
        "vllm:cache_config_info",
        "The KV cache's configuration.",
        &format!("block_size=\"{block_size}\",enable_prefix_caching=\"True\",engine=\"0\",num_gpu_blocks=\"{blocks}\""),
        1.0,
    );
    let (running, waiting) = engine.adapters();
    page.info(
        "vllm:lora_requests_info",
        "Adapters in use; the value is the time of the observation.",
        &format!(
            "max_lora=\"{}\",running_lora_adapters=\"{}\",waiting_lora_adapters=\"{}\"",
            config.max_adapters,
            escape(&running.join(",")),
            escape(&waiting.join(","))
        ),
        unix_seconds(SystemTime::now()),
    );
    page.counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up.", totals.prefix_queries);
    page.counter("vllm:prefix_cache_hits_total", "Prompt tokens found cached.", totals.prefix_hits);
    page.counter("vllm:num_preemptions_total", "Sequences preempted.", totals.preemptions);
    page.counter("vllm:prompt_tokens_total", "Prompt tokens processed.", totals.prompt_tokens);
    page.counter("vllm:generation_tokens_total", "Tokens generated.", totals.generation_tokens);
    page.head("vllm:request_success_total", "Requests that ended, by reason.", "counter");
    for (reason, count) in [("stop", recorder.stopped), ("length", recorder.at_length), ("abort", recorder.aborts), ("error", 0)] {
        let labels = format!("{},finished_reason=\"{reason}\"", page.labels);
        page.sample("vllm:request_success_total", &labels, count as f64);
    }
    page.latencies("vllm:", recorder);
    page.head("process_start_time_seconds", "When the process was started, in seconds since 1970.", "gauge");
    page.bare("process_start_time_seconds", unix_seconds(state.started));
}

fn sglang(page: &mut Page, config: &Config, state: &State) {
    let (engine, totals) = (&state.engine, state.engine.totals());
    page.gauge("sglang:num_running_reqs", "Requests in the running batch.", engine.running() as f64);
    page.gauge("sglang:num_queue_reqs", "Requests waiting to be scheduled.", engine.waiting() as f64);
    page.gauge("sglang:token_usage", "Share of the KV cache held, 0 to 1.", engine.kv_usage());
    page.info(
        "sglang:cache_config_info",
        "The KV cache's configuration.",
        &format!("page_size=\"{}\",num_pages=\"{}\"", config.block_size, config.num_blocks),
        1.0,
    );
    let hits = totals.prefix_hits as f64 / totals.prefix_queries.max(1) as f64;
    page.gauge("sglang:cache_hit_rate", "Share of prompt tokens found cached.", hits);
    page.counter("sglang:prompt_tokens_total", "Prompt tokens processed.", totals.prompt_tokens);
    page.counter("sglang:generation_tokens_total", "Tokens generated.", totals.generation_tokens);
    page.counter("sglang:num_aborted_requests_total", "Requests aborted.", state.recorder.aborts);
    page.latencies("sglang:", &state.recorder);
}

fn trtllm(page: &mut Page, config: &Config, state: &State) {
    let (engine, totals) = (&state.engine, state.engine.totals());
    page.gauge("trtllm_num_requests_running", "Requests in the running batch.", engine.running() as f64);
    page.gauge("trtllm_num_requests_waiting", "Requests waiting to be scheduled.", engine.waiting() as f64);
    page.gauge("trtllm_kv_cache_utilization", "Share of KV blocks held, 0 to 1.", engine.kv_usage());
    page.gauge("trtllm_kv_cache_tokens_per_block", "Tokens in a KV block.", config.block_size.into());
    page.gauge("trtllm_kv_cache_max_blocks", "KV blocks in all.", config.num_blocks.into());
    let hits = totals.prefix_hits as f64 / totals.prefix_queries.max(1) as f64;
    page.gauge("trtllm_kv_cache_hit_rate", "Share of prompt tokens found cached.", hits);
    page.latencies("trtllm_", &state.recorder);
}

/// A page under construction, with the labels that all its samples bear.
struct Page {
    text: String,
    labels: String,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.sample(name, &self.labels.clone(), value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.sample(name, &self.labels.clone(), value as f64);
    }

    fn info(&mut self, name: &str, help: &str, labels: &str, value: f64) {
        self.head(name, help, "gauge");
        self.sample(name, labels, value);
    }

    fn latencies(&mut self, prefix: &str, recorder: &Recorder) {
        self.histogram(
            &format!("{prefix}time_to_first_token_seconds"),
            "From submission to the first token.",
            &recorder.time_to_first_token,
        );
        self.histogram(&format!("{prefix}inter_token_latency_seconds"), "Between two tokens of a request.", &recorder.inter_token);
        self.histogram(&format!("{prefix}e2e_request_latency_seconds"), "From submission to the last token.", &recorder.end_to_end);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, help, "histogram");
        let bucket = format!("{name}_bucket");
        let mut cumulated = 0;
        for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
            cumulated += count;
            let labels = format!("{},le=\"{bound:?}\"", self.labels);
            self.sample(&bucket, &labels, cumulated as f64);
        }
        let labels = self.labels.clone();
        self.sample(&bucket, &format!("{labels},le=\"+Inf\""), histogram.count as f64);
        self.sample(&format!("{name}_sum"), &labels, histogram.sum);
        self.sample(&format!("{name}_count"), &labels, histogram.count as f64);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{name}{{{labels}}} {value:?}");
    }

    fn bare(&mut self, name: &str, value: f64) {
        let _ = writeln!(self.text, "{name} {value:?}");
    }
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A label value, escaped as the text format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
