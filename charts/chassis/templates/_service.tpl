{{- /* chassis.service: the Service, with the API's port, and with the admin ports if its type is ClusterIP */ -}}
{{- define "chassis.service" -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
{{- $clusterOnly := eq .Values.service.type "ClusterIP" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .) dict .Values.service.annotations) | nindent 2 }}
spec:
  type: {{ .Values.service.type | quote }}
  {{- include "chassis.ipFamilies" . | nindent 2 }}
  {{- range $key := list "loadBalancerClass" "loadBalancerSourceRanges" "externalTrafficPolicy" }}
  {{- with get $.Values.service $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  selector:
    {{- include "chassis.selector" (list . "server") | nindent 4 }}
  ports:
    - name: http
      port: {{ $facts.port }}
      targetPort: http
      appProtocol: http
      {{- if and .Values.service.nodePort (not $clusterOnly) }}
      nodePort: {{ .Values.service.nodePort }}
      {{- end }}
    {{- if $clusterOnly }} {{- /* these ports must not be reachable from outside the cluster */}}
    - {name: admin, port: 9090, targetPort: admin, appProtocol: http}
    {{- with $facts.operatorPort }}
    - {name: operator, port: {{ . }}, targetPort: operator, appProtocol: http}
    {{- end }}
    {{- end }}
{{- end }}

{{- /* chassis.ipFamilies: the fields of a Service that choose between IPv4 and IPv6, as service.ipFamilyPolicy says */ -}}
{{- define "chassis.ipFamilies" -}}
{{- range $key, $value := pick .Values.service "ipFamilyPolicy" "ipFamilies" -}}
{{- with $value }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
{{- end }}

{{- /* chassis.serviceAccount: the ServiceAccount of the service's pods, if serviceAccount.create */ -}}
{{- define "chassis.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.serviceAccountName" .) dict .Values.serviceAccount.annotations) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{- /* chassis.ingress: the Ingress, if ingress.enabled */ -}}
{{- define "chassis.ingress" -}}
{{- if .Values.ingress.enabled -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .) dict .Values.ingress.annotations) | nindent 2 }}
spec:
  {{- with .Values.ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with .Values.ingress.tls }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range .Values.ingress.hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          - path: {{ $.Values.ingress.path | quote }}
            pathType: Prefix
            backend:
              service:
                name: {{ include "chassis.fullname" $ | quote }}
                port: {name: http}
    {{- end }}
{{- end }}
{{- end }}

{{- /*
chassis.httpRoute: the HTTPRoute, if httpRoute.enabled. It states the defaults that the API server would add to the items of
its lists: Argo CD would take them for a difference, and sync again and again.
*/ -}}
{{- define "chassis.httpRoute" -}}
{{- if .Values.httpRoute.enabled -}}
{{- $facts := include "chassis.facts" . | fromYaml -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .) dict .Values.httpRoute.annotations) | nindent 2 }}
spec:
  parentRefs:
    {{- range $parent := .Values.httpRoute.parentRefs }}
    - {{- toYaml $parent | nindent 6 }}
      {{- range $key, $value := dict "group" "gateway.networking.k8s.io" "kind" "Gateway" }}
      {{- if not (hasKey $parent $key) }}
      {{- toYaml (dict $key $value) | nindent 6 }}
      {{- end }}
      {{- end }}
    {{- end }}
  {{- with .Values.httpRoute.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path: {type: PathPrefix, value: {{ .Values.httpRoute.path | quote }}}
      {{- with .Values.httpRoute.timeout }}
      timeouts:
        request: {{ . | quote }}
      {{- end }}
      backendRefs:
        - group: ""
          kind: Service
          name: {{ include "chassis.fullname" . | quote }}
          port: {{ $facts.port }}
          weight: 1
{{- end }}
{{- end }}
