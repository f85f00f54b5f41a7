//! The paths and methods that the code routes, read as the compiler reads them.

use std::collections::BTreeSet;
use std::path::Path;

use syn::visit::{Visit, visit_expr_call, visit_expr_method_call};
use syn::{Expr, ExprCall, ExprMethodCall, ItemConst, Lit};

/// Each path with one of its methods, of the API and of the dashboard.
pub fn routes() -> BTreeSet<(String, String)> {
    let mut found = Routes::default();
    for file in ["routes.rs", "ui/mod.rs", "ui/shell.rs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/admin")
            .join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        found.visit_file(&syn::parse_file(&text).unwrap());
    }
    found.0
}

#[derive(Default)]
struct Routes(BTreeSet<(String, String)>);

impl Routes {
    fn add(&mut self, path: &str, methods: &str) {
        for method in methods.split(", ") {
            self.0.insert((path.to_owned(), method.to_owned()));
        }
    }
}

impl Visit<'_> for Routes {
    /// `on("GET", "/path", …)` and `only("/path", "GET, POST")`.
    fn visit_expr_call(&mut self, call: &ExprCall) {
        let arguments: Vec<_> = call.args.iter().map(text).collect();
        match (name(&call.func).as_deref(), &arguments[..]) {
            (Some("on"), [Some(method), Some(path), _]) => self.add(path, method),
            (Some("only"), [Some(path), Some(methods)]) => self.add(path, methods),
            _ => {}
        }
        visit_expr_call(self, call);
    }

    /// `.route("/path", web::get()…)`
    fn visit_expr_method_call(&mut self, call: &ExprMethodCall) {
        if let (true, Some(path)) = (call.method == "route", call.args.first().and_then(text)) {
            let method = call
                .args
                .get(1)
                .and_then(method)
                .expect("web::get() or the like");
            self.add(&path, &method);
        }
        visit_expr_method_call(self, call);
    }

    /// The pages.
    fn visit_item_const(&mut self, item: &ItemConst) {
        if let (true, Expr::Array(pages)) = (item.ident == "PAGES", &*item.expr) {
            for page in pages.elems.iter().filter_map(text) {
                self.add(&page, "GET");
            }
        }
    }
}

fn text(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// The last part of the path that is called.
fn name(function: &Expr) -> Option<String> {
    match function {
        Expr::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

/// The method in `web::get().to(…)`.
fn method(route: &Expr) -> Option<String> {
    match route {
        Expr::MethodCall(call) => method(&call.receiver),
        Expr::Call(call) => Some(name(&call.func)?.to_ascii_uppercase()),
        _ => None,
    }
}
