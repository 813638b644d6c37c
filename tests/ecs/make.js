// Makes fields.tsv of what Elastic publishes of ECS as the npm package `@elastic/ecs`. In an empty folder:
//
//   npm pack @elastic/ecs@9.4.0 && tar xzf elastic-ecs-9.4.0.tgz
//   node WORKSPACE/tests/ecs/make.js package > WORKSPACE/tests/ecs/fields.tsv
"use strict";
const path = require("path");
const { EcsFlat, EcsVersion } = require(path.resolve(process.argv[2], "build/commonjs"));

const byName = (one, other) => (one.flat_name < other.flat_name ? -1 : 1);
const lines = [
  `# The fields of ECS ${EcsVersion}: name, type, \`array\` where it is one, and the only values where they are said.`,
  "# A row `NAME=VALUE` has the event.type that go with that event.category.",
  "# Made by make.js of the npm package @elastic/ecs (Apache-2.0, Elasticsearch B.V.).",
  `# version ${EcsVersion}`,
];
for (const field of Object.values(EcsFlat).sort(byName)) {
  const values = field.allowed_values || [];
  const row = [field.flat_name, field.type, (field.normalize || []).join(), values.map((value) => value.name).join()];
  lines.push(row.join("\t").trimEnd());
  for (const value of values.filter((value) => value.expected_event_types)) {
    lines.push([`${field.flat_name}=${value.name}`, "types", "", value.expected_event_types.join()].join("\t"));
  }
}
process.stdout.write(`${lines.join("\n")}\n`);
