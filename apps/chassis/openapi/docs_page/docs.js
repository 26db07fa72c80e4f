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

// The path of an operation is text within the button that opens it: a link within a button cannot be used by all.
const withoutLinksInButtons = (system) => ({
  wrapComponents: {
    DeepLink: (Original) => (props) =>
      String(props.path).includes("/") // a tag and an operation
        ? system.React.createElement("span", { className: "nostyle" }, props.text)
        : system.React.createElement(Original, props),
  },
});

// Names and roles that Swagger UI leaves out: selector, attribute, value.
const MISSING = [
  [".information-container", "role", "region"],
  [".information-container", "aria-label", "About this API"],
  [".scheme-container", "role", "region"],
  [".scheme-container", "aria-label", "Server and authorization"],
  ["#servers", "aria-label", "Server"],
  [".modal-ux", "role", "dialog"],
  [".modal-ux", "aria-modal", "true"],
  [".modal-ux", "aria-label", "Available authorizations"],
  [".close-modal", "aria-label", "Close this dialog"],
  [".response-control-media-type select, .content-type", "aria-label", "Media type"],
  [".body-param__text", "aria-label", "Request body"],
  [".examples-select select", "aria-label", "Example"],
];

function nameControls() {
  for (const [selector, attribute, value] of MISSING) {
    for (const element of document.querySelectorAll(`${selector.split(", ").map((each) => `#page ${each}`).join(", ")}`)) {
      if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
    }
  }
  for (const field of document.querySelectorAll("#page .parameters :is(input, select, textarea):not([aria-label])")) {
    const name = field.closest("tr")?.dataset.paramName;
    if (name) field.setAttribute("aria-label", name);
  }
  for (const table of document.querySelectorAll("#page [role=region]:is(.responses-table, .live-responses-table):not([aria-label])")) {
    const operation = table.closest(".opblock")?.querySelector(".opblock-summary-control")?.textContent ?? "";
    const what = table.matches(".live-responses-table") ? "Response to the request" : "Responses";
    table.setAttribute("aria-label", `${what}: ${operation}`);
  }
  // The levels of headings increase by one, from the title of the page.
  for (const heading of document.querySelectorAll("#page :is(h3, h4, h5):not([aria-level])")) {
    const isTop = heading.matches(".models > h4, .modal-ux-header > h3, h3");
    heading.setAttribute("aria-level", isTop ? "2" : String(Number(heading.nodeName[1]) - 1));
  }
  // Blocks that scroll by themselves can be reached with the keyboard.
  for (const block of document.querySelectorAll("#page :is(pre, .highlight-code > *):not([tabindex])")) {
    if (block.scrollWidth > block.clientWidth || block.scrollHeight > block.clientHeight) block.tabIndex = 0;
  }
}

let isPlanned = false;
const observer = new MutationObserver(() => {
  if (isPlanned) return;
  isPlanned = true;
  requestAnimationFrame(() => {
    isPlanned = false;
    nameControls();
  });
});

async function show() {
  const answer = await fetch("openapi.json");
  const spec = withNewKeys(await answer.json());
  document.title = spec.info.title;
  SwaggerUIBundle({
    spec,
    dom_id: "#page",
    layout: "BaseLayout",
    plugins: [renewsKeys, withoutLinksInButtons],
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
observer.observe(document.getElementById("page"), { childList: true, subtree: true });
show().catch((error) => {
  document.getElementById("page").textContent = `The document could not be loaded: ${error.message}`;
});
