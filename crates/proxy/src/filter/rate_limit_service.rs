//! Global limits that a rate limit service decides on: asked as Envoy asks, with Envoy Gateway's domains and descriptors.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use pailou_authz::is_open;
use pailou_envoy_proto::{
    LocalReply, header_mutation,
    rate_limit::{
        Code, DescriptorStatus, Entry, RateLimitDescriptor, RateLimitOverride, RateLimitRequest, RateLimitResponse, Unit,
    },
    structs::{Kind, Value as ProtoValue},
};
use pailou_limits::{
    Admission, Charge, Descriptor, ExpectedCost, LimitRule, Rate, Reach, RequestFacts, ServiceEntry, Window, WindowKind,
};
use pailou_snapshot::{HostPattern, ListenerName};
use serde_json::Value;

use super::{
    Stage,
    authentication::Identity,
    limit_target,
    rate_limit::LimitState,
    tightest_limit::{LimitText, Tightest},
};
use crate::{
    error::{Error, Flag},
    limit_charge::{ChargedRequest, NoCharge},
    limit_service::LimitServiceState,
    limit_service_calls::{self, ServiceCharge, ServiceCharges, Unanswered},
    request_head::Head,
    response_cost::HeldCharge,
    wall_clock::unix_seconds,
};

/// Namespace of the facts that a service gives, as Envoy's filter names it.
const NAMESPACE: &str = "envoy.filters.http.ratelimit";
/// Most facts that are taken from one answer.
const MAX_FACTS: usize = 64;

/// Questions of one request, by their domains, in the order in which they are asked.
pub(super) type Questions<'r> = BTreeMap<String, Vec<Question<'r>>>;

/// A rule that a request is charged by.
pub(super) struct Question<'r> {
    rule: &'r LimitRule,
    /// Values that tell its counters apart in this process.
    values: Descriptor,
    /// Names and values by which the service finds its counter.
    entries: Vec<ServiceEntry>,
}

/// The questions about a request that these rules are for.
pub(super) fn questions<'r>(
    selected: Vec<(&'r LimitRule, Descriptor)>,
    facts: &RequestFacts<'_>,
    stage: &Stage<'_>,
    host: &str,
) -> Questions<'r> {
    let mut questions = Questions::new();
    let mut route = None;
    for (rule, values) in selected {
        let (domain, first) = match rule.service_domain() {
            Some(policy) => (policy.to_owned(), ServiceEntry::of_name(&*rule.name)),
            None => {
                let route = route.get_or_insert_with(|| ServiceEntry::of_name(route_key(stage, host)));
                (listener_domain(stage.listener), route.clone())
            }
        };
        let mut entries = vec![first];
        entries.extend(rule.service_entries(facts));
        questions.entry(domain).or_default().push(Question { rule, values, entries });
    }
    questions.values_mut().for_each(|list| list.sort_by_key(|question| question.rule.place));
    questions
}

/// Envoy Gateway's name of a listener.
fn listener_domain(listener: &ListenerName) -> String {
    let gateway = &listener.gateway;
    match &listener.set {
        Some(set) => format!("{gateway}/{set}/{}", listener.section),
        None => format!("{gateway}/{}", listener.section),
    }
}

/// Envoy Gateway's name of the route that the request's match is to Envoy.
fn route_key(stage: &Stage<'_>, host: &str) -> String {
    let Some(matched) = stage.matched else { return String::new() };
    let route = &matched.entry.rule.route;
    let pattern = matched.routes.host_of(host, matched.entry);
    // Dots mean something to Envoy's metrics.
    let pattern = pattern.as_ref().map_or("*".to_owned(), HostPattern::to_string).replace('.', "_");
    let mut key = format!("{}/{}/rule/{}/match/", route.kind.name().to_ascii_lowercase(), route.name, route.rule);
    // Writing to a string does not fail.
    let _ = match matched.entry.rule.number_of(matched.entry) {
        Some(number) => write!(key, "{number}/{pattern}"),
        None => write!(key, "-1/{pattern}"),
    };
    key
}

/// Asks the service about one request.
pub(super) struct Asker<'a> {
    pub(super) service: Arc<LimitServiceState>,
    pub(super) stage: &'a Stage<'a>,
    pub(super) request: ChargedRequest<'a>,
}

impl Asker<'_> {
    /// Asks all questions, one after the other. Without an answer the request passes, or is refused, as is configured.
    ///
    /// # Errors
    /// 429 where the service refuses the request; 500 where it does not answer and is to.
    pub(super) async fn ask(
        &self,
        questions: Questions<'_>,
        head: &mut Head,
        (found, state): (&mut Identity, &mut LimitState),
    ) -> Result<(), Error> {
        for (domain, questions) in questions {
            let descriptors: Vec<_> = questions.iter().map(|it| self.descriptor(it, found)).collect();
            let mut request = RateLimitRequest { domain, descriptors, hits_addend: 0 };
            let answer = limit_service_calls::ask(&self.service, &self.stage.connection.worker.upstreams, &request).await;
            let statuses = match answer {
                Ok(answer) => self.judge(&questions, &answer, head, (&mut *found, &mut *state))?,
                Err(error) if self.service.settings().is_fail_closed => return Err(self.unanswered(&error)),
                Err(_) => {
                    self.service.stats().bypassed.fetch_add(1, Ordering::Relaxed);
                    Vec::new()
                }
            };
            let mut charges = Vec::new();
            let descriptors = std::mem::take(&mut request.descriptors);
            for ((question, descriptor), status) in questions.iter().zip(descriptors).zip(each(&statuses)) {
                if question.rule.response_cost.is_some() {
                    charges.extend(self.charge(question, descriptor, status)?);
                }
            }
            if !charges.is_empty() {
                let (service, upstreams) = (Arc::clone(&self.service), self.stage.connection.worker.upstreams.clone());
                let charges = ServiceCharges { service, upstreams, domain: request.domain, charges };
                state.charges.tokens.extend_by_service(self.request.prompt_tokens(), charges);
            }
        }
        Ok(())
    }

    /// A descriptor, with the client's own limit where an earlier answer or authentication gave one.
    fn descriptor(&self, question: &Question<'_>, found: &Identity) -> RateLimitDescriptor {
        let entry = |it: &ServiceEntry| Entry { key: it.key.clone(), value: it.value.clone() };
        let earlier = ChargedRequest { metadata: &found.metadata, ..self.request };
        let own = earlier.own_limit(question.rule).or_else(|| self.request.own_limit(question.rule));
        let limit = own.and_then(|(requests, seconds)| {
            let requests_per_unit = u32::try_from(requests).unwrap_or(u32::MAX);
            Some(RateLimitOverride { requests_per_unit, unit: Unit::of_seconds(seconds)? as i32 })
        });
        // One is what the service counts where nothing is said.
        let cost = self.request.cost(&question.rule.request_cost);
        RateLimitDescriptor {
            entries: question.entries.iter().map(entry).collect(),
            limit,
            hits_addend: (cost != 1).then_some(cost),
        }
    }

    /// Takes an answer in. Gives back the statuses, where there is one for each descriptor.
    fn judge(
        &self,
        questions: &[Question<'_>],
        answer: &RateLimitResponse,
        head: &mut Head,
        (found, state): (&mut Identity, &mut LimitState),
    ) -> Result<Vec<DescriptorStatus>, Error> {
        for (key, value) in answer.dynamic_metadata.iter().flat_map(|it| &it.fields).take(MAX_FACTS) {
            found.metadata.insert(NAMESPACE, key.as_str().into(), Arc::new(json(value)));
        }
        let is_over = answer.overall_code() == Code::OverLimit;
        let statuses = if answer.statuses.len() == questions.len() { &answer.statuses[..] } else { &[] };
        let refusing = if is_over { refusing(questions, statuses) } else { None };
        if refusing.is_some() {
            state.tightest = None;
        }
        self.note(questions, statuses, state);
        state.mutations.extend(answer.response_headers());
        if let Some(by) = refusing {
            return Err(refusal(by, answer));
        }
        if is_over {
            self.stage.connection.worker.context.metrics.shadowed_limits.inc();
        }
        if let Some(mutation) = answer.request_headers() {
            header_mutation::apply_where(&mutation, &mut head.parts.headers, |name| is_open(name.as_str()));
        }
        Ok(statuses.to_vec())
    }

    /// Notes what the tightest counter leaves, and the limits of all, as Envoy's headers tell them.
    fn note(&self, questions: &[Question<'_>], statuses: &[DescriptorStatus], state: &mut LimitState) {
        let has_headers = |question: &Question<'_>| question.rule.has_headers.unwrap_or(self.stage.rate_limit_headers);
        // A rule that tells nothing does not keep others from telling.
        let told = questions.iter().zip(statuses).filter(|(question, _)| has_headers(question));
        let limited = || told.clone().filter_map(|(_, status)| Some((status, status.current_limit.as_ref()?)));
        let Some((tightest, limit)) = limited().min_by_key(|(status, _)| status.limit_remaining) else { return };
        let mut text = limit.requests_per_unit.to_string();
        for (_, limit) in limited() {
            let Some(seconds) = limit.unit().seconds() else { continue };
            // Writing to a string does not fail.
            let _ = write!(text, ", {};w={seconds}", limit.requests_per_unit);
            if !limit.name.is_empty() {
                let _ = write!(text, ";name=\"{}\"", limit.name);
            }
        }
        let (remaining, reset) = (tightest.limit_remaining.into(), tightest.seconds_until_reset());
        Tightest { limit: LimitText::Service(text), remaining, reset }.note(&mut state.tightest);
    }

    /// The cost of a response that the service is to be told, with room held for it in this process where the service says how much there is.
    fn charge(
        &self,
        question: &Question<'_>,
        descriptor: RateLimitDescriptor,
        status: Option<&DescriptorStatus>,
    ) -> Result<Option<ServiceCharge>, Error> {
        let (rule, prompt) = (question.rule, self.request.prompt_tokens());
        let known = status.and_then(|status| {
            let limit = status.current_limit.as_ref()?;
            let window = Window { seconds: limit.unit().seconds()?, kind: WindowKind::Epoch };
            Some(((limit.requests_per_unit.into(), window), status.limit_remaining.into()))
        });
        let target = match rule.reach {
            Reach::Policy => 0,
            Reach::RouteRule => self.stage.route().map_or(0, |route| limit_target::id(route, self.stage.listener)),
        };
        let rate = known.map_or((rule.limit, rule.window), |(rate, _)| rate);
        let Some(cost) = &rule.response_cost else { return Ok(None) };
        let mut charge = self.request.charge_within(rule, (question.values.clone(), target), rate);
        let response = match self.request.expect(rule, cost, prompt, &mut charge) {
            Ok(response) => response,
            // A limit that refuses nothing does without what it cannot count.
            Err(_) if rule.is_shadow => return Ok(None),
            Err(error) => return Err(error),
        };
        let expected = match charge.expected {
            Some(ExpectedCost::Known(cost) | ExpectedCost::Learned(cost)) => cost,
            None => 0,
        };
        let unheld = |cost| ServiceCharge { descriptor: descriptor.clone(), cost, expected, reservation: None };
        let Some((_, remaining)) = known else { return Ok(Some(unheld(response.cost))) };
        // The service has charged the request itself.
        let charge = Charge { cost: 0, ..charge };
        match self.request.context.limits.admit_counted_elsewhere(unix_seconds(), &charge, remaining) {
            Admission::Admitted { reservation: None, .. } => Ok(Some(unheld(response.cost))),
            Admission::Admitted { reservation: Some(reservation), .. } => {
                let HeldCharge { reservation, cost } = response.held(reservation);
                Ok(Some(ServiceCharge { reservation: Some(reservation), ..unheld(cost) }))
            }
            Admission::Refused(rate) => Err(NoCharge::Refused(rule, rate).into_error()),
        }
    }

    fn unanswered(&self, error: &Unanswered) -> Error {
        let detail = format!("the rate limit service {}: {error}", self.service.settings().address);
        Error::new(Flag::RateLimitStore, "limits cannot be counted at this moment; try again").with_detail(detail)
    }
}

/// Each status, or none for ever.
fn each(statuses: &[DescriptorStatus]) -> impl Iterator<Item = Option<&DescriptorStatus>> {
    statuses.iter().map(Some).chain(std::iter::repeat(None))
}

/// The rule and status that a refusal is for. `None` where all that have no room only count.
enum Refusing<'q> {
    Rule(&'q LimitRule, &'q DescriptorStatus),
    /// The service does not say.
    Unknown,
}

fn refusing<'q>(questions: &'q [Question<'_>], statuses: &'q [DescriptorStatus]) -> Option<Refusing<'q>> {
    let mut over = questions.iter().zip(statuses).filter(|(_, status)| status.code() == Code::OverLimit).peekable();
    if over.peek().is_none() {
        return Some(Refusing::Unknown);
    }
    over.find(|(question, _)| !question.rule.is_shadow).map(|(question, status)| Refusing::Rule(question.rule, status))
}

fn refusal(by: Refusing<'_>, answer: &RateLimitResponse) -> Error {
    let error = match by {
        Refusing::Rule(rule, status) => {
            let limit = status.current_limit.as_ref();
            let rate = Rate {
                limit: limit.map_or(1, |it| it.requests_per_unit.into()),
                seconds: limit.and_then(|it| it.unit().seconds()).unwrap_or(0),
                remaining: status.limit_remaining.into(),
                reset: status.seconds_until_reset(),
            };
            NoCharge::Refused(rule, rate).into_error()
        }
        Refusing::Unknown => Error::new(Flag::RateLimited, "rate limit exceeded; try again later")
            .with_code("rate_limit_exceeded")
            .with_retry_after(Duration::from_secs(1)),
    };
    if answer.raw_body.is_empty() {
        return error;
    }
    let mut headers = HeaderMap::new();
    let kind = answer.body_type().unwrap_or(HeaderValue::from_static("text/plain"));
    headers.insert(header::CONTENT_TYPE, kind);
    let reply = LocalReply::new(StatusCode::TOO_MANY_REQUESTS, headers, answer.raw_body.clone());
    Error { local_reply: Some(Box::new(reply)), ..error }
}

/// A fact in JSON.
fn json(value: &ProtoValue) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::NumberValue(number)) => number_in_json(*number),
        Some(Kind::ListValue(list)) => list.values.iter().map(json).collect(),
        Some(Kind::StructValue(fields)) => fields.fields.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

/// Numbers of this protocol are floating, and most mean whole ones.
fn number_in_json(number: f64) -> Value {
    const MAX_WHOLE: f64 = (1_u64 << 53) as f64;
    match number.fract() == 0.0 && (0.0..=MAX_WHOLE).contains(&number) {
        true => Value::from(number as u64),
        false => Value::from(number),
    }
}
