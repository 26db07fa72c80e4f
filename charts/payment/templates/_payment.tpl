{{- define "payment.facts" -}}
{{- $egress := .Values.provider.egress -}}
port: 8081
peer: {name: order, port: 8080, namespace: {{ .Values.order.namespace | quote }}}
env:
  ORDER_URL: {{ tpl (required "order.url must say where the order service is" .Values.order.url) . | quote }}
secrets:
  API_KEYS: api-keys
  EVENTS_SECRETS: events-secrets
egress:
  {{- if $egress.enabled }}
  - {cidrs: {{ toJson $egress.cidrs }}, ports: {{ toJson $egress.ports }}}
  {{- end }}
{{- end }}

{{- /* payment.firstCalls: how to ask for a payment, in commands to paste, and what the order service has to know */ -}}
{{- define "payment.firstCalls" -}}
Wait until it is ready, then ask for a payment that does not exist (yet):

{{ include "chassis.notes.reach" . }}
  curl --silent --write-out '\nHTTP %{http_code}\n' --retry 9 --retry-connrefused -H "Authorization: Bearer $API_KEY" \
    'http://localhost:8081/v1/payments?order_id=01890a5d-ac96-774b-bcce-b302099a8057'
  kill %%

An order service works with it whose chart has `payment.url` http://{{ include "chassis.fullname" . }}.{{ .Release.Namespace }}:8081,
`payment.namespace` {{ .Release.Namespace }}, and as `credentials.existingSecret` the Secret {{ include "chassis.credentialsSecret" . }}
(a copy of it, in another namespace).
{{ end }}

{{- define "payment.notes" -}}
{{ include "chassis.notes" (list .) }}
{{- end }}
