// GitHub's own parser of workflows and evaluator of expressions, asked line by line in JSON:
//   node language.mjs FOLDER      where npm has installed them below FOLDER
import { register } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// The parser imports JSON in the way of bundlers, without saying that it is JSON.
const json = `export const load = (url, context, next) => next(url, url.endsWith(".json")
  ? { ...context, importAttributes: { type: "json" } } : context);`;
register(`data:text/javascript,${encodeURIComponent(json)}`);

const installed = pathToFileURL(`${process.argv[2]}/node_modules/@actions/`);
const load = (file) => import(new URL(file, installed));
const { data, Evaluator, Lexer, Parser } = await load("expressions/dist/index.js");
const { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } =
  await load("workflow-parser/dist/index.js");
const { ensureStatusFunction } = await load("workflow-parser/dist/model/converter/if-condition.js");
const { parseAction } = await load("workflow-parser/dist/actions/action-parser.js");

const STATUS = ["always", "cancelled", "failure", "success"];

// A condition that asks for no status asks for success().
function evaluate({ expression, contexts, status, condition }) {
  const functions = STATUS.map((name) => ({ name, minArgs: 0, maxArgs: 0 }));
  const known = Object.keys(contexts);
  const allowed = [...known, ...functions.map(({ name }) => `${name}(0,0)`)];
  const text = condition ? ensureStatusFunction(expression, { allowedContext: allowed }) : expression;
  const tree = new Parser(new Lexer(text).lex().tokens, known, functions).parse();
  const values = JSON.parse(JSON.stringify(contexts), data.reviver);
  const answers = STATUS.map((name) => [name, { name, call: () => new data.BooleanData(status[name]) }]);
  const found = new Evaluator(tree, values, new Map(answers)).evaluate();
  return { value: JSON.parse(JSON.stringify(found, data.replacer)), text: found.coerceString() };
}

async function parse({ name, files }) {
  const file = (path) => ({ name: path, content: files[path] });
  const trace = new NoOperationTraceWriter();
  if (/(^|\/)action\.ya?ml$/.test(name)) {
    const { context } = parseAction(file(name), trace);
    return { errors: context.errors.getErrors().map(String), jobs: [] };
  }
  const { context, value } = parseWorkflow(file(name), trace);
  if (!value) return { errors: context.errors.getErrors().map(String), jobs: [] };
  const provider = {
    async getFileContent({ path }) {
      if (!(path in files)) throw new Error(path);
      return file(path);
    },
  };
  const options = { fetchReusableWorkflowDepth: 1 };
  const template = await convertWorkflowTemplate(context, value, provider, options);
  return {
    errors: context.errors.getErrors().map(String),
    jobs: (template.jobs ?? []).map(described),
  };
}

function described(job) {
  return {
    id: job.id.value,
    needs: (job.needs ?? []).map((need) => need.value),
    condition: job.if?.expression ?? "",
    strategy: job.strategy ? JSON.stringify(job.strategy.toJSON()) : "",
    outputs: [...(job.outputs ?? [])].map(({ key }) => key.value),
    steps: (job.steps ?? []).length,
    jobs: (job.jobs ?? []).map(described),
  };
}

const ASKED = { evaluate, parse };
for await (const line of createInterface({ input: process.stdin })) {
  const { ask, ...what } = JSON.parse(line);
  let answer;
  try {
    answer = await ASKED[ask](what);
  } catch (error) {
    answer = { failed: error.message };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
