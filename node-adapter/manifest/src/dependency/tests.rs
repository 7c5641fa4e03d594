use proptest::prelude::*;

use super::*;

/// A module from `name version: needed constraint, … ? optional constraint, …`.
fn module(text: &str) -> Manifest {
    let (head, rest) = text.split_once(':').unwrap();
    let (name, version) = head.split_once(' ').unwrap();
    let (needs, uses) = rest.split_once('?').unwrap_or((rest, ""));
    let constraints = |text: &str| {
        let each = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let pair = each.map(|one| one.split_once(' ').unwrap());
        pair.map(|(name, versions)| (name.to_owned(), versions.parse().unwrap())).collect()
    };
    Manifest {
        version: version.parse().unwrap(),
        dependencies: constraints(needs),
        optional_dependencies: constraints(uses),
        ..Manifest::new(name, name)
    }
}

fn graph(modules: &[&str]) -> DependencyGraph {
    let modules: Vec<_> = modules.iter().map(|text| module(text)).collect();
    modules.iter().collect()
}

#[test]
fn what_is_needed_comes_first_and_names_decide_between_equals() {
    let graph = graph(&["a 1.0.0: z ^1", "z 1.2.0:", "m 1.0.0:", "b 1.0.0: a *, m *"]);
    let resolution = graph.resolve();
    assert_eq!(resolution.order, ["m", "z", "a", "b"]);
    assert!(resolution.refused.is_empty());
    assert_eq!(graph.load_order_of("a").unwrap(), ["z", "a"]);
    assert_eq!(graph.unload_order_of("z"), ["b", "a", "z"]);
    assert_eq!(graph.unload_order_of("b"), ["b"]);
    assert!(graph.unload_order_of("nobody").is_empty());
    assert_eq!(graph.load_order_of("nobody"), Err(DependencyError::Unknown { name: "nobody".to_owned() }));
}

#[test]
fn who_needs_what_is_named_and_dependents_fall_with_it() {
    let graph = graph(&["a 1.0.0: gone >=2", "b 1.0.0: a *", "c 1.0.0: b *", "d 1.0.0: e ^2", "e 1.9.0:"]);
    let resolution = graph.resolve();
    assert_eq!(resolution.order, ["e"]);
    let told: Vec<_> = resolution.refused.values().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "module a needs gone >=2, which is not there: install it",
            "module b needs a, which cannot be loaded",
            "module c needs b, which cannot be loaded",
            "module d needs e ^2, and version 1.9.0 is there",
        ]
    );
    assert_eq!(graph.load_order_of("c").unwrap_err().to_string(), told[2]);
}

#[test]
fn a_circle_is_named_in_full_and_who_leads_into_it_is_refused() {
    let resolution =
        graph(&["a 1.0.0: b *", "b 1.0.0: c *", "c 1.0.0: a *", "d 1.0.0: a *", "e 1.0.0:"]).resolve();
    assert_eq!(resolution.order, ["e"]);
    assert_eq!(
        resolution.refused["a"].to_string(),
        "modules need each other in a circle: a needs b needs c needs a"
    );
    assert_eq!(
        resolution.refused["b"].to_string(),
        "modules need each other in a circle: b needs c needs a needs b"
    );
    assert_eq!(resolution.refused["d"].to_string(), "module d needs a, which cannot be loaded");
}

#[test]
fn an_optional_module_comes_first_where_it_can_and_holds_nobody_up() {
    let order = |modules: &[&str]| graph(modules).resolve();
    assert_eq!(order(&["a 1.0.0: ? b *", "b 1.0.0:"]).order, ["b", "a"]);
    assert_eq!(order(&["a 1.0.0: ? gone *"]).order, ["a"]);
    let other_version = order(&["a 1.0.0: ? b ^2", "b 1.0.0:"]);
    assert_eq!(other_version.order, ["a", "b"]);
    assert_eq!(other_version.ignored[0].to_string(), "module a needs b ^2, and version 1.0.0 is there");
    assert_eq!(order(&["a 1.0.0: ? b *", "b 1.0.0: ? a *"]).order, ["b", "a"], "the first named counts");
    assert_eq!(order(&["a 1.0.0: ? b *", "b 1.0.0: a *"]).order, ["a", "b"], "a need counts more");
    let refused = order(&["a 1.0.0: ? b *", "b 1.0.0: gone *"]);
    assert_eq!(refused.order, ["a"]);
}

/// What can be loaded, by trying again and again: whatever has all it needs is next, the first by name.
fn oracle(modules: &[Manifest]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    loop {
        let has = |needed: &String, versions: &VersionReq| {
            order.contains(needed)
                && modules.iter().any(|other| other.name == *needed && versions.matches(&other.version))
        };
        let mut ready: Vec<_> = modules
            .iter()
            .filter(|module| !order.contains(&module.name))
            .filter(|module| module.dependencies.iter().all(|(needed, versions)| has(needed, versions)))
            .map(|module| module.name.clone())
            .collect();
        ready.sort();
        match ready.into_iter().next() {
            Some(next) => order.push(next),
            None => return order,
        }
    }
}

/// Up to 7 modules of one letter that need and use some of 8, in versions that are there or not.
fn modules() -> impl Strategy<Value = Vec<Manifest>> {
    let constraint = (0..8u8, prop_oneof![6 => Just("*"), 1 => Just("^1"), 1 => Just("^2")]);
    let needs = proptest::collection::vec(constraint.clone(), 0..3);
    let uses = proptest::collection::vec(constraint, 0..3);
    let one = (1..3u64, needs, uses);
    proptest::collection::vec(one, 0..8).prop_map(|all| {
        let letter = |index: u8| char::from(b'a' + index).to_string();
        let made = all.into_iter().enumerate().map(|(index, (major, needs, uses))| {
            let name = letter(index as u8);
            let versions = |pairs: Vec<(u8, &str)>| -> BTreeMap<String, VersionReq> {
                let pairs = pairs.into_iter().map(|(to, versions)| (letter(to), versions.parse().unwrap()));
                pairs.filter(|(to, _)| *to != name).collect()
            };
            let dependencies = versions(needs);
            let mut optional_dependencies = versions(uses);
            optional_dependencies.retain(|used, _| !dependencies.contains_key(used));
            let version = Version::new(major, 0, 0);
            Manifest { version, dependencies, optional_dependencies, ..Manifest::new(&name, &name) }
        });
        made.collect()
    })
}

proptest! {
    #[test]
    fn the_order_is_that_of_trying_again_and_again(modules in modules()) {
        let resolution = modules.iter().collect::<DependencyGraph>().resolve();
        let modules: Vec<_> = modules.into_iter().map(|module| Manifest { optional_dependencies: BTreeMap::new(), ..module }).collect();
        let plain = modules.iter().collect::<DependencyGraph>().resolve();
        prop_assert_eq!(&plain.order, &oracle(&modules));
        prop_assert_eq!(plain.order.len() + plain.refused.len(), modules.len());
        // Optional ones change the order, never what is in it.
        let sorted = |order: &[String]| order.iter().cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(sorted(&plain.order), sorted(&resolution.order));
    }

    #[test]
    fn nobody_comes_before_what_it_needs_or_can_use(modules in modules()) {
        let graph: DependencyGraph = modules.iter().collect();
        let resolution = graph.resolve();
        let place = |name: &str| resolution.order.iter().position(|other| other == name);
        let by_name: BTreeMap<_, _> = modules.iter().map(|module| (module.name.as_str(), module)).collect();
        // With every optional module needed, is there a circle?
        let all_needed: Vec<_> = modules.iter().map(|module| {
            let uses = module.optional_dependencies.iter().filter(|(used, versions)| {
                place(used).is_some() && versions.matches(&by_name[used.as_str()].version)
            });
            let uses = uses.map(|(used, versions)| (used.clone(), versions.clone()));
            Manifest { dependencies: module.dependencies.clone().into_iter().chain(uses).collect(), ..module.clone() }
        }).collect();
        let has_circle = oracle(&all_needed).len() < resolution.order.len();
        for (mine, name) in resolution.order.iter().enumerate() {
            let module = by_name[name.as_str()];
            for needed in module.dependencies.keys() {
                prop_assert!(place(needed).is_some_and(|place| place < mine), "{name} needs {needed}");
            }
            for (used, versions) in &module.optional_dependencies {
                let is_right = by_name.get(used.as_str()).is_some_and(|other| versions.matches(&other.version));
                if let (false, true, Some(place)) = (has_circle, is_right, place(used)) {
                    prop_assert!(place < mine, "{name} uses {used}");
                }
            }
            let unload = graph.unload_order_of(name);
            prop_assert_eq!(unload.last(), Some(name));
            for (index, first) in unload.iter().enumerate() {
                let needs_an_earlier_one = unload[..index].iter().any(|gone| by_name[first.as_str()].dependencies.contains_key(gone));
                prop_assert!(!needs_an_earlier_one, "{first} is unloaded after what it needs");
            }
        }
    }
}
