//! Frames about modules, and calls of the node with their answers.

use blvm_bus::request::{
    Call, CallOutcome, CallReply, CliArgument, CliArgumentForm, CliCommand, CliSpec, CommandOutput,
    HealthState, MetricHistogram, MetricSeries, MetricValue, MetricsReply, MetricsRequest, ModuleError,
    ModuleHealth, ModuleMetrics, ModuleRefusal, ModuleState, ModuleSummary, ModulesReply, ModulesRequest,
    QuotaUnit, Refusal, Reply, Request,
};

fn health() -> ModuleHealth {
    ModuleHealth { state: HealthState::Degraded, message: "three peers are gone".to_owned() }
}

/// One of each kind, with and without labels.
fn series() -> Vec<MetricSeries> {
    let labels = vec![("topic".to_owned(), "chain".to_owned())];
    let bounds = vec![0.5.into(), 2.0.into()];
    let histogram = MetricHistogram { bounds, counts: vec![1, 0, 2], sum: 9.25.into() };
    vec![
        MetricSeries { name: "blocks_seen".to_owned(), labels, value: MetricValue::Counter(7) },
        MetricSeries { name: "level".to_owned(), labels: vec![], value: MetricValue::Gauge((-1.5).into()) },
        MetricSeries {
            name: "reply_seconds".to_owned(),
            labels: vec![],
            value: MetricValue::Histogram(histogram),
        },
    ]
}

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    let modules = |name, request| (name, Request::Modules(Box::new(request)));
    let argument = CliArgument {
        name: "limit".to_owned(),
        about: "how many".to_owned(),
        form: CliArgumentForm::Option,
        is_required: false,
    };
    let command =
        CliCommand { name: "list".to_owned(), about: "lists".to_owned(), arguments: vec![argument.clone()] };
    let spec = CliSpec {
        name: "routes".to_owned(),
        about: "what is known of routes".to_owned(),
        arguments: vec![argument],
        commands: vec![command],
    };
    vec![
        modules(
            "request-publish-event",
            ModulesRequest::PublishEvent { name: "RouteDiscovered".to_owned(), payload: vec![1; 40] },
        ),
        modules(
            "request-call-module",
            ModulesRequest::CallModule {
                module: "lightning".to_owned(),
                method: "pay".to_owned(),
                payload: vec![2; 40],
            },
        ),
        modules("request-register-api", ModulesRequest::RegisterApi { methods: vec!["pay".to_owned(); 2] }),
        modules("request-register-cli", ModulesRequest::RegisterCliSpec(spec)),
        modules("request-discover", ModulesRequest::DiscoverModules),
        modules("request-report-health", ModulesRequest::ReportHealth(health())),
        ("request-report-metrics", Request::Metrics(Box::new(MetricsRequest::Report { series: series() }))),
        ("request-get-all-metrics", Request::Metrics(Box::new(MetricsRequest::GetAll))),
    ]
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let modules = |name, reply| (name, Reply::Modules(Box::new(reply)));
    let summary = ModuleSummary {
        name: "lightning".to_owned(),
        version: "0.1.0".to_owned(),
        state: ModuleState::Running,
        health: health(),
        is_loaded: true,
        pid: Some(7),
    };
    let circle = Refusal::Module { rule: ModuleRefusal::Circle, message: "a -> b -> a".to_owned() };
    let quota = Refusal::Quota { unit: QuotaUnit::Bytes, per_second: 9, retry_after_ms: 10 };
    let metrics = ModuleMetrics { module: "lightning".to_owned(), series: series() };
    vec![
        modules("reply-modules", ModulesReply::Modules(vec![summary.clone(), summary])),
        modules("reply-called", ModulesReply::Called { payload: vec![3; 40] }),
        ("reply-circle", Reply::Refused(circle)),
        ("reply-quota", Reply::Refused(quota)),
        ("reply-metrics", Reply::Metrics(Box::new(MetricsReply::All(vec![metrics])))),
        ("reply-metric", Reply::Refused(Refusal::Metric { message: "9a is no name".to_owned() })),
    ]
}

pub(super) fn calls() -> Vec<(&'static str, Call)> {
    let api = Call::Api { caller: "mesh".to_owned(), method: "pay".to_owned(), payload: vec![4; 40] };
    let arguments = vec!["list".to_owned(), "--limit=9".to_owned()];
    vec![
        ("call-stop", Call::Stop { deadline_ms: 10_000 }),
        ("call-health", Call::Health),
        ("call-command", Call::Command { name: "routes".to_owned(), arguments }),
        ("call-rpc", Call::Rpc { method: "listroutes".to_owned(), params: "{\"limit\":9}".to_owned() }),
        ("call-api", api),
    ]
}

pub(super) fn outcomes() -> Vec<(&'static str, CallOutcome)> {
    let output = CommandOutput { output: "one\ntwo\n".to_owned(), error: String::new(), status: 0 };
    let failed = ModuleError::Failed { code: -5, message: "there is no such route".to_owned() };
    vec![
        ("outcome-health", CallOutcome::Replied(CallReply::Health(health()))),
        ("outcome-command", CallOutcome::Replied(CallReply::Command(output))),
        ("outcome-rpc", CallOutcome::Replied(CallReply::Rpc("[1,2,3,4,5,6]".to_owned()))),
        ("outcome-failed", CallOutcome::Failed(failed)),
    ]
}
