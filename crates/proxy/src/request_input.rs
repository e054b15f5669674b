//! The body of a request, where a decision depends on it: read whole, within bounds, and scanned once.

use std::{collections::BTreeMap, future::poll_fn, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use pailou_ai::{BodyError, BodyKind, Scan, Scanner, content_coding::Codings};
use pailou_snapshot::Body;
use tokio::time::timeout;

use crate::{
    content_coding::{self, decode},
    context::{Context, Share},
    error::{Error, Flag},
    headers,
    mirror::Copies,
    request_head::Head,
    retained::Rest,
    server::{ClientBody, ClientBodyError},
};

/// A request's body and what is known of it.
pub(crate) enum RequestInput {
    /// Not read: it is passed on as it comes.
    Unread(Box<Unread>),
    /// There is none.
    Absent,
    /// Read whole.
    Read(Box<ReadBody>),
}

/// A body that has not been read. Its size is a power of two: the allocator finds blocks of other sizes only by a detour.
#[repr(align(128))]
pub(crate) struct Unread {
    pub(crate) rest: Rest,
    /// Kind of body that it can be read as.
    kind: Option<BodyKind>,
    /// Codings to undo for that.
    codings: Codings,
}

// One field too many would make it the next multiple.
const _: () = assert!(size_of::<Unread>().is_power_of_two());

/// A body that has been read.
pub(crate) struct ReadBody {
    /// As it came.
    pub(crate) bytes: Bytes,
    /// Without its content codings, where it has any that were undone.
    pub(crate) decoded: Option<Bytes>,
    /// Result of the scan; `None` where the body is not of a kind that names a model.
    pub(crate) scan: Option<Result<Scan, BodyError>>,
    /// Its share of the room for bodies, held as long as the body may be sent again, or a mirror has it.
    pub(crate) share: Arc<Share>,
}

/// How much may be read, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) time: Option<Duration>,
    /// How long nothing may come.
    pub(crate) idle: Option<Duration>,
}

impl RequestInput {
    /// A body not read yet.
    pub(crate) fn new(body: ClientBody, head: &Head) -> Self {
        if body.is_end_stream() {
            return Self::Absent;
        }
        let (kind, codings) = kind(head);
        Self::Unread(Box::new(Unread { rest: Rest { body, copies: Copies::default() }, kind, codings }))
    }

    /// Whether there is no body, or one that was read and understood, be there a model in it or not.
    pub(crate) fn is_understood(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Unread(_) => false,
            Self::Read(call) => matches!(call.scan, Some(Ok(_))),
        }
    }

    /// The body as matching sees it. A body that cannot name a model counts as read.
    pub(crate) fn known<'a>(&'a self, base_models: &'a BTreeMap<String, String>) -> Body<'a> {
        match self {
            Self::Unread(unread) if unread.kind.is_some() => Body::Unread,
            Self::Unread(_) | Self::Absent => Body::Read { model: None, base_model: None },
            Self::Read(call) => call.known(base_models),
        }
    }

    /// The body that was read.
    pub(crate) fn call(&self) -> Option<&ReadBody> {
        match self {
            Self::Read(call) => Some(call),
            _ => None,
        }
    }

    /// Bytes read, or announced; 0 where neither is known.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Read(call) => call.bytes.len() as u64,
            Self::Unread(unread) => unread.rest.body.size_hint().exact().unwrap_or(0),
            Self::Absent => 0,
        }
    }

    /// Undoes a body's content codings for good: whoever gets it next is to understand it.
    pub(crate) fn decode(&mut self, map: &mut HeaderMap) {
        if let Self::Read(read) = self
            && let Some(decoded) = read.decoded.take()
        {
            read.bytes = decoded;
            map.remove(header::CONTENT_ENCODING);
            headers::remove_digests(map);
        }
    }

    /// Reads the body, if there is one that can be understood and has not been read.
    ///
    /// # Errors
    /// 413 where it is longer than allowed, 408 where it does not arrive, 503 where the process holds no more.
    pub(crate) async fn read(self, head: &Head, context: &Arc<Context>, bounds: &Bounds) -> Result<Self, Error> {
        if self.is_opaque() {
            return Ok(self);
        }
        self.read_all(head, context, bounds).await
    }

    /// The same, if nothing has to be waited for. Gives back whether there is no more to read.
    ///
    /// # Errors
    /// As [`RequestInput::read`].
    pub(crate) fn read_now(&mut self, head: &Head, context: &Arc<Context>, bounds: &Bounds) -> Result<bool, Error> {
        Ok(self.is_opaque() || self.read_all_now(head, context, bounds)?)
    }

    /// Whether it has not been read, and would not be understood.
    fn is_opaque(&self) -> bool {
        matches!(self, Self::Unread(unread) if unread.kind.is_none())
    }

    /// Reads the body even where it cannot be understood.
    ///
    /// # Errors
    /// As [`RequestInput::read`]. 400 where the body is not of the coding that it says.
    pub(crate) async fn read_all(mut self, head: &Head, context: &Arc<Context>, bounds: &Bounds) -> Result<Self, Error> {
        if self.read_all_now(head, context, bounds)? {
            return Ok(self);
        }
        let Self::Unread(unread) = self else { return Ok(self) };
        // Boxed: most bodies come with their head, and would carry the room it needs.
        Box::pin(Self::collected(unread, head, context, bounds)).await
    }

    fn read_all_now(&mut self, head: &Head, context: &Arc<Context>, bounds: &Bounds) -> Result<bool, Error> {
        let unread = match self {
            Self::Absent => return Ok(true),
            Self::Read(call) if call.bytes.len() as u64 > bounds.bytes => return Err(too_long(bounds.bytes)),
            Self::Read(_) => return Ok(true),
            Self::Unread(unread) => unread,
        };
        if !unread.codings.is_identity() {
            return Ok(false);
        }
        let Some(bytes) = unread.rest.body.take_whole() else { return Ok(false) };
        if bytes.len() as u64 > bounds.bytes {
            return Err(too_long(bounds.bytes));
        }
        let mut share = Share::new(context.clone());
        share.grow_to(bytes.len() as u64)?;
        let scan = unread.kind.map(|kind| kind.scan(boundary(kind, head), &bytes));
        *self = Self::Read(Box::new(ReadBody { bytes, decoded: None, scan, share: Arc::new(share) }));
        Ok(true)
    }

    async fn collected(unread: Box<Unread>, head: &Head, context: &Arc<Context>, bounds: &Bounds) -> Result<Self, Error> {
        let Unread { rest: Rest { body, .. }, kind, codings } = *unread;
        let announced = body.size_hint().exact();
        if announced.is_some_and(|length| length > bounds.bytes) {
            return Err(too_long(bounds.bytes));
        }
        let mut share = Share::new(context.clone());
        let mut ahead = Ahead { is_json: kind == Some(BodyKind::Json) && codings.is_identity(), scanner: None };
        let collect = collect(body, announced, bounds, &mut share, &mut ahead);
        let bytes = match bounds.time {
            None => collect.await?,
            Some(time) => timeout(time, collect).await.map_err(|_| late())??,
        };
        Ok(Self::Read(Box::new(ReadBody::new(bytes, head, (kind, codings), ahead.scanner, bounds, share).await?)))
    }

    /// A body that takes the place of the client's.
    ///
    /// # Errors
    /// 503 where the process holds no more, 400 where the body is not of the coding that it says, 413 where it is too long.
    pub(crate) async fn replaced(bytes: Bytes, head: &Head, context: &Arc<Context>, bounds: &Bounds) -> Result<Self, Error> {
        if bytes.len() as u64 > bounds.bytes {
            return Err(too_long(bounds.bytes));
        }
        let mut share = Share::new(context.clone());
        share.grow_to(bytes.len() as u64)?;
        Ok(Self::Read(Box::new(ReadBody::new(bytes, head, kind(head), None, bounds, share).await?)))
    }
}

impl ReadBody {
    /// A body of this kind, with its account. The scanner has read a part of it.
    async fn new(
        bytes: Bytes,
        head: &Head,
        (kind, codings): (Option<BodyKind>, Codings),
        scanner: Option<Box<Scanner>>,
        bounds: &Bounds,
        mut share: Share,
    ) -> Result<Self, Error> {
        let decoded = match kind {
            Some(_) if !codings.is_identity() => Some(decode(&codings, &bytes, bounds.bytes, &mut share).await?),
            _ => None,
        };
        let scan = match scanner {
            Some(scanner) => Some(scanner.finish(&bytes).map_err(BodyError::from)),
            None => kind.map(|kind| kind.scan(boundary(kind, head), decoded.as_ref().unwrap_or(&bytes))),
        };
        Ok(Self { bytes, decoded, scan, share: Arc::new(share) })
    }

    /// The body as conditions see it.
    pub(crate) fn known<'a>(&'a self, base_models: &'a BTreeMap<String, String>) -> Body<'a> {
        let model = self.model();
        Body::Read { model, base_model: model.and_then(|model| base_models.get(model)).map(String::as_str) }
    }

    /// The model that the body names.
    pub(crate) fn model(&self) -> Option<&str> {
        self.scan()?.model.as_deref()
    }

    /// Result of the scan, where the body can be understood.
    pub(crate) fn scan(&self) -> Option<&Scan> {
        self.scan.as_ref()?.as_ref().ok()
    }

    /// The body that the scan is of.
    pub(crate) fn text(&self) -> &Bytes {
        self.decoded.as_ref().unwrap_or(&self.bytes)
    }
}

/// The content type of a form, which says where its parts end; other kinds are read without.
fn boundary(kind: BodyKind, head: &Head) -> Option<&str> {
    match kind {
        BodyKind::Json => None,
        BodyKind::Multipart => head.text(&header::CONTENT_TYPE),
    }
}

/// Kind of body, by which the scan reads it, and the codings to undo first.
fn kind(head: &Head) -> (Option<BodyKind>, Codings) {
    if head.upgrade.is_some() {
        return (None, Codings::default());
    }
    match content_coding::codings(&head.parts.headers) {
        Some(codings) => (BodyKind::from_content_type(head.text(&header::CONTENT_TYPE)), codings),
        None => (None, Codings::default()),
    }
}

/// Part of a body read while it comes. Most bodies come in one piece.
struct Ahead {
    is_json: bool,
    scanner: Option<Box<Scanner>>,
}

impl Ahead {
    fn read(&mut self, there: &[u8]) {
        if self.is_json {
            self.scanner.get_or_insert_default().read(there);
        }
    }
}

/// Collects a body, and reads of it what is there before the rest is. One that comes in one piece is not copied, and one of known
/// length over HTTP/1.1 is read into its place.
async fn collect(
    mut body: ClientBody,
    announced: Option<u64>,
    bounds: &Bounds,
    share: &mut Share,
    ahead: &mut Ahead,
) -> Result<Bytes, Error> {
    let limit = bounds.bytes;
    // Without room for it, it is refused before it comes. But only what has come is charged: a client that announces much and
    // sends nothing must not take the room of others.
    share.has_room_for(announced.unwrap_or(0))?;
    if let (Some(body), Some(length)) = (body.in_place(), announced) {
        loop {
            let gather = poll_fn(|context| body.poll_gather(context));
            let there = within(bounds.idle, gather).await?.map_err(|error| broken(&error))?;
            share.grow_to(there)?;
            if there == length {
                return Ok(body.take());
            }
            body.show(|there| ahead.read(there));
        }
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let Some(frame) = within(bounds.idle, body.frame()).await? else { break };
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.as_ref().map_or(rest.len(), Bytes::len) + data.len();
        if length as u64 > limit {
            return Err(too_long(limit));
        }
        share.grow_to(length as u64)?;
        if length == data.len() {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            rest.reserve(announced.map_or(2 * length, |announced| announced as usize));
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
        ahead.read(&rest);
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

fn late() -> Error {
    Error::new(Flag::ClientBody, "the request's body did not arrive in time")
}

/// Bounds the time in which nothing comes.
async fn within<T>(idle: Option<Duration>, next: impl Future<Output = T>) -> Result<T, Error> {
    match idle {
        None => Ok(next.await),
        Some(idle) => timeout(idle, next).await.map_err(|_| late()),
    }
}

/// A body that does not arrive: cut off, or framed in a way that is not HTTP.
fn broken(error: &ClientBodyError) -> Error {
    let (flag, message) = match error {
        ClientBodyError::Malformed(_) => (Flag::BadRequest, "the request's body is not valid HTTP"),
        _ => (Flag::ClientBody, "the request's body broke off"),
    };
    Error::new(flag, message).with_detail(error.to_string())
}

fn too_long(limit: u64) -> Error {
    Error::new(Flag::OverLimit, format!("the request's body is longer than the {limit} bytes allowed here"))
        .with_code("request_too_large")
}
