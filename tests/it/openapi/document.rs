//! The document that describes the admin listener, as tests read it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

/// `src/admin/openapi.json`.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../src/admin/openapi.json");
    serde_json::from_str(text).unwrap()
});

/// What stands at the other end of a `$ref`, or the value itself.
pub fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        None => value,
        Some(to) => resolved(DOCUMENT.pointer(to.strip_prefix('#').unwrap()).unwrap()),
    }
}

/// One method of one path.
pub struct Operation {
    /// With names in braces.
    pub path: &'static str,
    /// In upper case.
    pub method: String,
    pub says: &'static Value,
    shared: &'static Value,
}

impl Operation {
    /// Its parameters that stand there: in the `query` or in the `path`.
    pub fn parameters(&self, place: &str) -> Vec<&'static str> {
        let lists = [&self.says["parameters"], &self.shared["parameters"]];
        let all = lists.into_iter().filter_map(Value::as_array).flatten();
        let found = all.map(resolved).filter(|one| one["in"] == place);
        found.map(|one| one["name"].as_str().unwrap()).collect()
    }

    /// The fields of a JSON body; `None` if it has no body.
    pub fn fields(&self) -> Option<Vec<&'static str>> {
        let body = self.says.get("requestBody")?;
        let schema = resolved(&body["content"]["application/json"]["schema"]);
        assert_eq!(schema["additionalProperties"], false, "{}", self.path);
        Some(
            schema["properties"]
                .as_object()?
                .keys()
                .map(String::as_str)
                .collect(),
        )
    }

    /// Whether this role may ask: `administrator`, `viewer`, or nobody (`""`).
    pub fn is_for(&self, role: &str) -> bool {
        let roles = self.says["security"].as_array().unwrap();
        let is_role = |one: &Value| match role {
            "" => one.as_object().unwrap().is_empty(),
            role => one.get(role).is_some(),
        };
        roles.is_empty() || roles.iter().any(is_role)
    }

    /// Whether it is for the dashboard's own script or for a browser.
    pub fn is_of_dashboard(&self) -> bool {
        self.says["tags"][0] == "dashboard"
    }
}

/// All of them.
pub fn operations() -> Vec<Operation> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, item) in paths {
        let shared = resolved(item);
        for (name, says) in shared.as_object().unwrap() {
            if name != "parameters" {
                let method = name.to_ascii_uppercase();
                all.push(Operation {
                    path,
                    method,
                    says,
                    shared,
                });
            }
        }
    }
    all
}

/// The methods of each path.
pub fn methods() -> BTreeMap<&'static str, Vec<String>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for operation in operations() {
        all.entry(operation.path)
            .or_default()
            .push(operation.method);
    }
    all
}

/// The path of the document that a request's path is: of several that one without a name in braces.
pub fn path_of(asked: &str) -> Option<&'static str> {
    let asked: Vec<&str> = asked.split('/').collect();
    let is_it = |path: &&&'static str| {
        let path: Vec<&str> = path.split('/').collect();
        let mut both = path.iter().zip(&asked);
        path.len() == asked.len()
            && both
                .all(|(said, asked)| said == asked || (said.starts_with('{') && !asked.is_empty()))
    };
    let all = methods();
    let found = all.keys().filter(is_it);
    found.min_by_key(|path| path.matches('{').count()).copied()
}
