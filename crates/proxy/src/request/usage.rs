//! Usage of a stream, asked for where a limit counts its tokens.

use http::header;
use pailou_ai::{Api, Pieces, scan, splice, transfer_edits};

use super::{Chosen, outgoing::Outgoing, target::Target};
use crate::{headers, request_input::ReadBody};

/// Has a stream end with its usage (`stream_options.include_usage`), where a limit counts tokens and the client does not ask. The response
/// then loses the chunk again.
pub(super) fn ask(route: &Chosen<'_>, target: &mut Target, outgoing: &mut Outgoing, call: Option<&ReadBody>) {
    let Some(call) = call.filter(|_| route.counts_tokens) else { return };
    // An endpoint picker may have made a stream of it.
    let may_be_stream = target.has_pickers_body() || call.scan().is_some_and(|scan| scan.stream);
    if !may_be_stream || !has_usage_chunk(outgoing.path()) {
        return;
    }
    let body = match &target.body {
        Some(body) if target.has_pickers_body() => {
            let body = body.to_bytes();
            let Some(edit) = scan(&body).ok().and_then(|scan| scan.usage_edit(&body)) else { return };
            splice(&body, vec![edit])
        }
        // With the model's new name, or the client's own.
        _ => {
            let Some((scan, edit)) = call.scan().and_then(|scan| Some((scan, scan.usage_edit(call.text())?))) else { return };
            let name = target.target_model.as_deref().filter(|_| target.body.is_some());
            let mut edits = name.map(|name| scan.model_edits(name)).unwrap_or_default();
            if target.takes_transfer {
                edits.extend(transfer_edits(call.text()).unwrap_or_default());
            }
            edits.push(edit);
            splice(call.text(), edits)
        }
    };
    change(target, outgoing, call, body);
}

fn change(target: &mut Target, outgoing: &mut Outgoing, call: &ReadBody, body: Pieces) {
    if target.body.is_none() && call.decoded.is_some() {
        outgoing.headers.remove(header::CONTENT_ENCODING);
    }
    headers::remove_digests(&mut outgoing.headers);
    target.body = Some(body);
    target.strips_usage = true;
}

/// Whether streams of this API end with usage on request only.
fn has_usage_chunk(path: &str) -> bool {
    matches!(Api::from_path(path), Some(Api::ChatCompletions | Api::Completions))
}
