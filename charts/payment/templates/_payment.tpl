{{- /* payment.facts: see chassis.facts */ -}}
{{- define "payment.facts" -}}
{{- $egress := .Values.provider.egress -}}
port: 8081
peer: {name: order, port: 8080, namespace: {{ .Values.order.namespace | quote }}}
env:
  ORDER_URL: {{ tpl (required "order.url: must be the URL of the order service" .Values.order.url) . | quote }}
secrets:
  API_KEYS: api-keys
  EVENTS_SECRETS: events-secrets
egress:
  {{- if $egress.enabled }}
  - {cidrs: {{ toJson $egress.cidrs }}, ports: {{ toJson $egress.ports }}}
  {{- end }}
{{- end }}

{{- /*
payment.gettingStarted: the part of NOTES.txt that shows how to query payments, and the values that an order chart needs
to use this payment service
*/ -}}
{{- define "payment.gettingStarted" -}}
Wait until the pods are ready, then list the payments of an order. The list is empty, since there is no such order:

{{ include "chassis.notes.access" . }}
  curl --silent --write-out '\nHTTP %{http_code}\n' --retry 9 --retry-connrefused -H "Authorization: Bearer $API_KEY" \
    'http://localhost:8081/v1/payments?order_id=01890a5d-ac96-774b-bcce-b302099a8057'
  kill %%

To use this payment service, an order chart needs these values: `payment.url` is
http://{{ include "chassis.fullname" . }}.{{ .Release.Namespace }}:8081, `payment.namespace` is {{ .Release.Namespace }}, and `credentials.existingSecret` is
{{ include "chassis.credentialsSecretName" . }}. In another namespace, the order chart needs a copy of that Secret.
{{ end }}

{{- /* payment.notes: NOTES.txt of the payment chart when it is installed by itself */ -}}
{{- define "payment.notes" -}}
{{ include "chassis.notes" (list .) }}
{{- end }}
