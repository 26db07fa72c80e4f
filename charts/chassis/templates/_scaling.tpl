{{- /* chassis.horizontalPodAutoscaler: the HorizontalPodAutoscaler, if autoscaling.enabled */ -}}
{{- define "chassis.horizontalPodAutoscaler" -}}
{{- if .Values.autoscaling.enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "chassis.fullname" . | quote }}
  minReplicas: {{ .Values.autoscaling.minReplicas }}
  maxReplicas: {{ .Values.autoscaling.maxReplicas }}
  metrics:
    - type: ContainerResource # the web container only: a relay that works off a backlog must not add pods
      containerResource:
        name: cpu
        container: web
        target:
          type: Utilization
          averageUtilization: {{ .Values.autoscaling.cpuUtilization }}
    {{- with .Values.autoscaling.metrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.autoscaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- /*
chassis.podDisruptionBudget: the PodDisruptionBudget, if it is enabled and there can be more than one pod. Pods that are
not ready may always be evicted, so that a broken pod does not block a drain.
*/ -}}
{{- define "chassis.podDisruptionBudget" -}}
{{- $pods := ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled | int -}}
{{- if and .Values.podDisruptionBudget.enabled (gt $pods 1) -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .)) | nindent 2 }}
spec:
  maxUnavailable: {{ .Values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "server") | nindent 6 }}
{{- end }}
{{- end }}
