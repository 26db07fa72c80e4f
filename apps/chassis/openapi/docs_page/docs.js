// The documentation page: Swagger UI with the OpenAPI document of this service.
"use strict";

const KEY = "Idempotency-Key";

// Return a random UUID. crypto.randomUUID exists only on pages from HTTPS or localhost.
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// Give each operation a new key of its own as its example.
function withNewKeys(spec) {
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

// After a success, the next click is a new operation and gets a new key. A failed request is retried with the same key.
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
  const spec = withNewKeys(await answer.json());
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
const applyTheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyTheme);
applyTheme();
show().catch((error) => {
  document.getElementById("page").textContent = `The document could not be loaded: ${error.message}`;
});
