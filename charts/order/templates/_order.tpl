{{- define "order.facts" -}}
{{- $_ := required "credentials.existingSecret must name the Secret that the payment chart made" .Values.credentials.existingSecret -}}
{{- $webhooks := .Values.webhooks -}}
port: 8080
peer: {name: payment, port: 8081, namespace: {{ .Values.payment.namespace | quote }}}
env:
  PAYMENT_URL: {{ tpl (required "payment.url must say where the payment service is" .Values.payment.url) . | quote }}
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
{{- end }}

{{- /* order.firstCalls: how to place an order, in commands to paste */ -}}
{{- define "order.firstCalls" -}}
Wait until it is ready, then place an order and see it paid:

{{ include "chassis.notes.reach" . }}
  curl --silent --write-out '\nHTTP %{http_code}\n' --retry 9 --retry-connrefused http://localhost:8080/v1/orders \
    -H "Authorization: Bearer $API_KEY" -H "Idempotency-Key: $(date +%s)" -H 'Prefer: wait=5' \
    -H 'Content-Type: application/json' \
    -d '{"currency": "EUR", "payment_method": "pm_ok", "items": [{"sku": "tea-100", "name": "Green tea", "quantity": 2, "unit_amount": 450}]}'
  kill %%

More of it from inside the cluster, down to refunds:

  helm -n {{ .Release.Namespace }} test {{ .Release.Name }} --logs

What both services do is on a page for operators, http://localhost:9090/operator, after
`kubectl -n {{ .Release.Namespace }} port-forward service/{{ include "chassis.fullname" . }} 9090`. A key to sign in with, good for a day:

  kubectl -n {{ .Release.Namespace }} exec deployment/{{ include "chassis.fullname" . }} -c web -- flask --app order keys create \
    --merchant operators --scope operator:read --scope operator:write --expires-in 1
{{ end }}

{{- define "order.notes" -}}
{{ include "chassis.notes" (list .) }}
{{- end }}
