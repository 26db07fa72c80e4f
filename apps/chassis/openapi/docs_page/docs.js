// The documentation page: Swagger UI on this service's own document.
"use strict";

const KEY = "Idempotency-Key";

// 122 random bits as a UUID; crypto.randomUUID is missing on pages that came over plain HTTP from another host.
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// Each operation starts with a key of its own: the example in the document would be the same for everybody.
function withOwnKeys(spec) {
  const shared = spec.components.parameters[KEY];
  for (const item of Object.values(spec.paths)) {
    for (const operation of Object.values(item)) {
      operation.parameters = operation.parameters?.map((parameter) =>
        parameter.$ref === `#/components/parameters/${KEY}` ? { ...shared, example: newKey() } : parameter,
      );
    }
  }
  return spec;
}

// What has succeeded is done: the next click is a new intention. What has failed is repeated under the same key.
const renewsKeys = {
  statePlugins: {
    spec: {
      wrapActions: {
        setResponse: (original, system) => (path, method, response) => {
          const result = original(path, method, response);
          const shown = system.specSelectors.specJsonWithResolvedSubtrees();
          const parameters = shown.getIn(["paths", path, method, "parameters"]);
          const key = parameters?.find((parameter) => parameter.get("name") === KEY);
          if (response.ok && key) {
            system.specActions.changeParamByIdentity([path, method], key, newKey(), false);
          }
          return result;
        },
      },
    },
  },
};

async function show() {
  const answer = await fetch("openapi.json");
  const spec = withOwnKeys(await answer.json());
  document.title = spec.info.title;
  SwaggerUIBundle({
    spec,
    dom_id: "#page",
    layout: "BaseLayout",
    plugins: [renewsKeys],
    presets: [SwaggerUIBundle.presets.apis],
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    displayOperationId: true,
    displayRequestDuration: true,
    persistAuthorization: false,
    tryItOutEnabled: true,
    validatorUrl: null,
  });
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();
show().catch((error) => {
  document.getElementById("page").textContent = `The document could not be shown: ${error.message}`;
});
