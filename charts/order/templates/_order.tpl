{{- /* order.facts: see chassis.facts */ -}}
{{- define "order.facts" -}}
{{- $_ := required "credentials.existingSecret: must name the Secret that the payment chart created" .Values.credentials.existingSecret -}}
{{- $webhooks := .Values.webhooks -}}
{{- $publisher := .Values.publisher -}}
port: 8080
operatorPort: 9092
connections: {perThread: 1, others: 29}
publisherConnections: {{ ternary (mul 3 (int .Values.publisher.replicas)) 0 .Values.publisher.enabled }}
peer: {name: payment, port: 8081, namespace: {{ .Values.payment.namespace | quote }}}
env:
  PAYMENT_URL: {{ tpl (required "payment.url: must be the URL of the payment service" .Values.payment.url) . | quote }}
  WEBHOOK_PROXY: {{ .Values.proxy.url | quote }}
  WEBHOOK_ALLOWED_NETWORKS: {{ join "," $webhooks.allowedNetworks | quote }}
secrets:
  API_KEYS: api-keys
  PAYMENT_API_KEY: payment-api-key
  EVENTS_SECRETS: events-secrets
egress:
  {{- with $webhooks.allowedNetworks }}
  - {cidrs: {{ toJson . }}, ports: {{ toJson $webhooks.egress.ports }}}
  {{- end }}
  {{- if $webhooks.egress.enabled }}
  - {cidrs: {{ toJson $webhooks.egress.cidrs }}, ports: {{ toJson $webhooks.egress.ports }}}
  {{- end }}
errors:
  {{- if and $webhooks.egress.cidrs (not $webhooks.egress.enabled) }}
  - "webhooks.egress.cidrs: has no effect while webhooks.egress.enabled is false; set it to true or remove this value"
  {{- end }}
  {{- with $publisher }}
  {{- if and .enabled (not .url) (not .existingSecret) }}
  - "publisher.url: must be the URL of the broker when publisher.enabled is true, or set publisher.existingSecret"
  {{- else if and .url .existingSecret }}
  - "publisher.url and publisher.existingSecret: set only one of them"
  {{- else if and (not .enabled) (or .url .existingSecret) }}
  - "publisher.enabled: is false, so {{ ternary "publisher.url" "publisher.existingSecret" (not (empty .url)) }} has no effect; set publisher.enabled to true or remove this value"
  {{- end }}
  {{- range $name := list "credentials" "clientCertificate" }}
  {{- if and (not $publisher.enabled) (get $publisher $name).existingSecret }}
  - "publisher.enabled: is false, so publisher.{{ $name }}.existingSecret has no effect; set publisher.enabled to true or remove this value"
  {{- end }}
  {{- end }}
  {{- end }}
{{- end }}

{{- /* order.gettingStarted: the part of NOTES.txt that shows how to place an order */ -}}
{{- define "order.gettingStarted" -}}
Wait until the pods are ready, then place an order. The response shows whether it is paid:

{{ include "chassis.notes.access" . }}
  curl --silent --write-out '\nHTTP %{http_code}\n' --retry 9 --retry-connrefused http://localhost:8080/v1/orders \
    -H "Authorization: Bearer $API_KEY" -H "Idempotency-Key: $(date +%s)" -H 'Prefer: wait=5' \
    -H 'Content-Type: application/json' \
    -d '{"currency": "EUR", "payment_method": "pm_ok", "items": [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}]}'
  kill %%

Run the chart test, which pays, refunds and cancels orders from inside the cluster:

  helm -n {{ .Release.Namespace }} test {{ .Release.Name }} --logs

A page for operators shows the work of both services. To open it, run
`kubectl -n {{ .Release.Namespace }} port-forward service/{{ include "chassis.fullname" . }} 9092` and go to http://localhost:9092/operator.
Create a key to sign in with, valid for one day:

  kubectl -n {{ .Release.Namespace }} exec deployment/{{ include "chassis.fullname" . }} -c web -- tandem-admin order keys create \
    --merchant operators --scope operator:read --scope operator:write --expires-in 1
{{ end }}

{{- /* order.notes: NOTES.txt of the order chart when it is installed by itself */ -}}
{{- define "order.notes" -}}
{{ include "chassis.notes" (list .) }}
{{- end }}
