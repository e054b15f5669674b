//! Expressions in the Common Expression Language (CEL), within bounds of length, depth and work.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, Program, Value};

/// Longest expression, in characters.
const MAX_LENGTH: usize = 4096;
/// Most operators of an expression, and members and indexes that it takes: the library goes a call deeper with each.
const MAX_OPERATORS: usize = 100;
/// Macros that go through a list or map. One in another multiplies the work of one request.
const LOOPS: [&str; 5] = ["all", "exists", "exists_one", "filter", "map"];

/// An expression over named values.
pub struct Expression {
    text: Box<str>,
    program: Program,
    /// Variables that it names.
    variables: Vec<&'static str>,
}

/// The value of a variable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variable<'a> {
    /// A text.
    Text(&'a str),
    /// An unsigned whole number.
    Uint(u64),
    /// A number with a fraction.
    Double(f64),
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is too long.
    #[error("is longer than {MAX_LENGTH} characters")]
    TooLong,
    /// It is too deep.
    #[error("has more than {MAX_OPERATORS} operators, members and indexes: split it into several rules")]
    TooDeep,
    /// It goes through lists more than once.
    #[error("has more than one of the macros {}", LOOPS.join(", "))]
    Loops,
    /// It is no CEL.
    #[error("is not valid CEL: {0}")]
    Syntax(String),
    /// It names what there is not.
    #[error("there is no variable `{0}`")]
    Variable(String),
    /// It calls what there is not.
    #[error("there is no function `{0}`")]
    Function(String),
}

/// Why an expression yields no whole number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntegerError {
    /// It yields a value of another type.
    #[error("yields a {0}, not a whole number")]
    Type(String),
    /// It yields a number below 0.
    #[error("yields {0}, which is below 0")]
    Negative(i64),
    /// It cannot be evaluated: a number overflows, or is divided by 0, or types do not go together.
    #[error("cannot be evaluated: {0}")]
    Evaluation(String),
}

impl Expression {
    /// Reads an expression over these variables.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str, variables: &[&'static str]) -> Result<Self, ExpressionError> {
        let program = compile(text, |name| variables.contains(&name))?;
        let references = program.references();
        let variables = variables.iter().copied().filter(|name| references.has_variable(name)).collect();
        Ok(Self { text: text.into(), variables, program })
    }

    /// Whether it names a variable.
    pub fn names(&self, variable: &str) -> bool {
        self.variables.contains(&variable)
    }

    /// Evaluates it to a whole number of 0 or more. `value` is asked for the variables that it names; one without a value is an error
    /// where the evaluation comes to it.
    ///
    /// # Errors
    /// It yields something else, or cannot be evaluated.
    pub fn integer<'v>(&self, value: impl Fn(&'static str) -> Option<Variable<'v>>) -> Result<u64, IntegerError> {
        let mut context = context();
        for name in &self.variables {
            let value = match value(name) {
                Some(Variable::Text(text)) => Value::String(Arc::new(text.to_owned())),
                Some(Variable::Uint(number)) => Value::UInt(number),
                Some(Variable::Double(number)) => Value::Float(number),
                None => continue,
            };
            context.add_variable_from_value(*name, value);
        }
        match self.program.execute(&context) {
            Ok(Value::UInt(number)) => Ok(number),
            Ok(Value::Int(number)) => u64::try_from(number).map_err(|_| IntegerError::Negative(number)),
            Ok(other) => Err(IntegerError::Type(other.type_of().to_string())),
            Err(error) => Err(IntegerError::Evaluation(first_line(&error.to_string()))),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text)
    }
}

/// Reads an expression over variables of which `is_variable` knows.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn compile(text: &str, is_variable: impl Fn(&str) -> bool) -> Result<Program, ExpressionError> {
    if text.chars().count() > MAX_LENGTH {
        return Err(ExpressionError::TooLong);
    }
    let code = without_texts(text);
    let count = |letters: &[u8]| code.bytes().filter(|byte| letters.contains(byte)).count();
    if count(b"+-*/%<>=!.[{(?") + count(b"|&") / 2 > MAX_OPERATORS {
        return Err(ExpressionError::TooDeep);
    }
    let ins = words(&code).filter(|word| *word == "in").count();
    if ins > MAX_OPERATORS {
        return Err(ExpressionError::TooDeep);
    }
    if loops(&code) > 1 {
        return Err(ExpressionError::Loops);
    }
    let program = Program::compile(text).map_err(|error| ExpressionError::Syntax(first_line(&error.to_string())))?;
    let references = program.references();
    if let Some(unknown) = references.variables().into_iter().find(|name| !is_variable(name) && !is_bound(text, name)) {
        return Err(ExpressionError::Variable(unknown.to_owned()));
    }
    if let Some(unknown) = references.functions().into_iter().find(|name| !FUNCTIONS.contains(name)) {
        return Err(ExpressionError::Function(unknown.to_owned()));
    }
    Ok(program)
}

/// Whether an expression goes through a list or map.
pub(crate) fn has_loop(text: &str) -> bool {
    loops(&without_texts(text)) > 0
}

fn loops(code: &str) -> usize {
    words(code).filter(|word| LOOPS.contains(word)).count()
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
}

/// A context with the standard functions and no variables.
pub(crate) fn context() -> Context<'static> {
    static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));
    Context::with_env(Arc::clone(&STANDARD))
}

/// Functions, macros and operators that expressions can use.
const FUNCTIONS: [&str; 44] = [
    "_&&_",
    "_||_",
    "!_",
    "-_",
    "_+_",
    "_-_",
    "_*_",
    "_/_",
    "_%_",
    "_==_",
    "_!=_",
    "_<_",
    "_<=_",
    "_>_",
    "_>=_",
    "_?_:_",
    "_[_]",
    "_[?_]",
    "_?._",
    "@in",
    "_in_",
    "in",
    "@not_strictly_false",
    "not_strictly_false",
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "type",
    "dyn",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "lowerAscii",
];

/// Whether a macro binds the name: `headers.exists(name, …)`.
fn is_bound(text: &str, name: &str) -> bool {
    LOOPS.iter().any(|binding| {
        text.match_indices(binding).any(|(at, _)| {
            let rest = text[at + binding.len()..].trim_start();
            let Some(rest) = rest.strip_prefix('(') else { return false };
            rest.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(','))
        })
    })
}

/// The text of an expression without the contents of its literals and comments.
fn without_texts(text: &str) -> String {
    let (mut code, mut rest) = (String::new(), text);
    while let Some(begin) = rest.find(['"', '\'', '/']) {
        let (before, from) = rest.split_at(begin);
        code.push_str(before);
        rest = if let Some(comment) = from.strip_prefix("//") {
            comment.find('\n').map_or("", |end| &comment[end..])
        } else if let Some(after) = from.strip_prefix('/') {
            code.push('/');
            after
        } else {
            after_literal(from, code.ends_with(['r', 'R']))
        };
        code.push(' ');
    }
    code + rest
}

/// The text after a literal that it begins with. A literal without an end is no CEL; all of it counts as its content.
fn after_literal(text: &str, is_raw: bool) -> &str {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let end = if text.starts_with(&triple) { &triple } else { quote };
    let mut rest = &text[end.len()..];
    loop {
        let Some(at) = rest.find(['\\', '"', '\'']) else { return "" };
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix(end) {
            return after;
        }
        let skipped = if rest.starts_with('\\') && !is_raw { rest.chars().take(2).map(char::len_utf8).sum() } else { 1 };
        rest = &rest[skipped..];
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(text: &str) -> Result<u64, IntegerError> {
        let expression = Expression::parse(text, &["model", "tokens", "dollars", "missing"]).unwrap();
        expression.integer(|name| match name {
            "model" => Some(Variable::Text("qwen")),
            "tokens" => Some(Variable::Uint(20)),
            "dollars" => Some(Variable::Double(0.5)),
            _ => None,
        })
    }

    #[test]
    fn an_expression_yields_a_whole_number() {
        for (text, number) in [
            ("tokens * 3u", 60),
            ("model == 'qwen' ? tokens / 3u : 0u", 6),
            ("7", 7),
            ("uint(dollars * 100.0)", 50),
            ("model.startsWith('q') ? 1u : missing", 1),
        ] {
            assert_eq!(evaluate(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn other_results_and_errors_are_no_number() {
        assert_eq!(evaluate("-1"), Err(IntegerError::Negative(-1)));
        for text in ["dollars", "model", "true", "[1u]"] {
            assert!(matches!(evaluate(text), Err(IntegerError::Type(_))), "{text}: {:?}", evaluate(text));
        }
        for text in
            ["tokens - 21u", "tokens * 18446744073709551615u", "tokens / 0u", "tokens + 1", "missing", "uint(0.0 - dollars)"]
        {
            assert!(matches!(evaluate(text), Err(IntegerError::Evaluation(_))), "{text}: {:?}", evaluate(text));
        }
    }

    #[test]
    fn variables_that_nobody_knows_are_named() {
        let parsed = Expression::parse("input_tokens + otput_tokens", &["input_tokens", "output_tokens"]);
        assert_eq!(parsed.err(), Some(ExpressionError::Variable("otput_tokens".to_owned())));
    }
}
